"""Time and memory of pieces of work, side by side."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.running.environment import peak_memory_mb

Work = Callable[[], object]


class Ratio(NamedTuple):
    """How two series of times compare: median, smallest and largest of their ratios in each round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Median, then the range."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def alternate(works: Mapping[str, Work], rounds: int, *, untimed: int = 1) -> dict[str, list[float]]:
    """Seconds of each piece of work, by its name, in each of `rounds` rounds that follow the `untimed` ones."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for index in tqdm(range(untimed + rounds), desc=" / ".join(works), leave=False, disable=None):
        for name, work in works.items():
            taken = clock(work)
            if index >= untimed:
                seconds[name].append(taken)
    return seconds


def clock(work: Work) -> float:
    """Seconds that `work` takes, all that it started on a GPU included."""
    started = _now()
    work()
    return _now() - started


def _now() -> float:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter()


def ratio(seconds: Sequence[float], of: Sequence[float]) -> Ratio:
    """`seconds` divided by `of`, round by round."""
    shares = [one / other for one, other in zip(seconds, of, strict=True)]
    return Ratio(median(shares), min(shares), max(shares))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads for PyTorch and for all libraries that scikit-learn and Faiss call."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def side_by_side(works: Mapping[str, Work], most_threads: int, rounds: int) -> Iterator[tuple[str, int, float, Ratio]]:
    """Name, threads, median seconds and ratio to the first of these works, in 1 thread and, if allowed, in 2."""
    first = next(iter(works))
    for count in range(1, min(most_threads, 2) + 1):
        with threads(count):
            seconds = alternate(works, rounds)
        for name, taken in seconds.items():
            yield name, count, median(taken), ratio(taken, seconds[first])


def extra_memory(
    prepare: Callable[..., Any], arguments: Sequence[Any], work: Callable[[Any], Any]
) -> tuple[Any, float]:
    """What `work(prepare(*arguments))` returns, and the MiB that `work` takes beside its input at its peak.

    Both run in a process of their own, with as many threads as here. All must be picklable, functions by name.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (torch.get_num_threads(),)) as apart:
        return apart.submit(_in_process, prepare, arguments, work).result()


def _in_process(prepare: Callable[..., Any], arguments: Sequence[Any], work: Callable[[Any], Any]) -> tuple[Any, float]:
    given = prepare(*arguments)
    with suppress(OSError):  # Linux counts the peak anew; elsewhere preparing counts as well
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory_mb("VmRSS")
    return work(given), _memory_mb("VmHWM") - before


def _memory_mb(field: str) -> float:
    """What Linux says of this process; elsewhere, and where it does not say that, the peak so far."""
    with suppress(OSError):
        if found := re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text(encoding="ascii")):
            return int(found[1]) / 2**10
    return peak_memory_mb(torch.device("cpu"))
