"""Work on many items in threads, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T], description: str, progress: bool = False) -> list[R]:
    """Results of `work` in the order of `items`, computed by as many threads as PyTorch uses.

    Worth it where NumPy does the work, which lets other threads run while it sorts and gathers. `work` should leave
    PyTorch alone, whose operations bring threads of their own. An exception or Ctrl-C drops the items not yet begun.

    Args:
        work: called once for every item.
        items: what it is called with.
        description: name of the progress bar.
        progress: show a bar while stderr is a terminal.
    """
    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        done = pool.map(work, items)
        return list(tqdm(done, description, len(items), leave=False, disable=None if progress else True))
    finally:
        pool.shutdown(cancel_futures=True)
