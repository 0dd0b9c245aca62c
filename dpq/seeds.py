"""One master seed, and a seed of its own for every axis of randomness."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import device

_LOCK = threading.RLock()  # a generator is of the whole process, and one thread draws from it at a time


def derive_seed(seed: int, axis: str, epoch: int = 0) -> int:
    """A seed for one axis ("weights", "order", "augment", "dropout", "codebooks") in one epoch.

    Because it is a function of its arguments alone, an interrupted run needs no random state to go on, and a
    change on one axis leaves the others alone.
    """
    digest = hashlib.sha256(f"{seed}/{axis}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's global generator of the CPU is seeded; afterwards it is as it was, whatever other threads do.

    Those of GPUs are not touched, as `torch.manual_seed` would.
    """
    from torch import default_generator as generator

    with _LOCK:
        before = generator.get_state()
        try:
            generator.manual_seed(seed)
            yield
        finally:
            generator.set_state(before)


def seed_global(seed: int, device: device) -> None:
    """Seed torch's global generators of the CPU and of `device`, and no other."""
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
