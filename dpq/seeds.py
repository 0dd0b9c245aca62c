"""One master seed, and a seed of its own for every axis of randomness."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, axis: str, epoch: int = 0) -> int:
    """A seed for one axis ("weights", "order", "augment", "dropout", "codebooks") in one epoch.

    Because it is a function of its arguments alone, an interrupted run needs no random state to go on, and a
    change on one axis leaves the others alone.
    """
    digest = hashlib.sha256(f"{seed}/{axis}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
