"""Decodes many image files in worker processes, in order, within bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from dpq.protocols.decoding import Decoded, decode_file

# A forked worker shares its parent's memory; a started one would import everything anew. Elsewhere forks are unsafe.
_START = "fork" if sys.platform == "linux" else "spawn"
_MOST_WORKERS, _MOST_BATCH, _PREFETCH = 32, 8, 2
_IN_FLIGHT = 256 << 20  # bytes of decoded pixels between workers and parent
_COPIES = 2  # a batch on its way exists as an array and as a message


class _Files(Dataset[Decoded]):
    """Decoded files by name. Names come with the requests: a list of them here would be copied into every worker."""

    def __init__(self, root: Path, side: int | None, alone: AbstractContextManager[Any]) -> None:
        self._root, self._side, self._alone = root, side, alone

    def __getitem__(self, name: str) -> Decoded:
        return decode_file(self._root, name, self._side, self._alone)


def decode_files(root: Path, names: Sequence[str], side: int | None, workers: int | None) -> Iterator[Decoded]:
    """What became of every file, in the order of `names`.

    Args:
        root: the folder, without symbolic links.
        names: relative paths.
        side: height and width to resize to; None keeps no pixels.
        workers: processes; 0 decodes in this one, None takes one per core, at most 8. More than 32, or more than
            hold a decoded image each in bounded memory, are not started.
    """
    count, batch = _plan(workers, len(names), 3 * side**2 if side is not None else 1)
    context = multiprocessing.get_context(_START)
    with warnings.catch_warnings():
        # More workers than cores are the caller's wish, and cost little.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        batches = iter(
            DataLoader(
                _Files(root, side, context.RLock()),
                batch_sampler=[list(names[start : start + batch]) for start in range(0, len(names), batch)],
                num_workers=count,
                collate_fn=list,
                multiprocessing_context=context if count else None,
                prefetch_factor=_PREFETCH if count else None,
                generator=torch.Generator(),  # else every pass would draw from the caller's global one
            )
        )
    for images in batches:
        yield from images


def _plan(workers: int | None, files: int, row_bytes: int) -> tuple[int, int]:
    """Number of workers and images per batch, such that all batches in flight stay within bounds."""
    if workers is None:
        workers = min(_cores(), 8)
    rows = _IN_FLIGHT // (row_bytes * _COPIES * _PREFETCH)
    workers = max(0, min(workers, _MOST_WORKERS, rows, files))
    return workers, max(1, min(_MOST_BATCH, rows // max(1, workers)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
