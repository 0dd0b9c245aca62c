"""Time and memory of pieces of work, side by side."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.running.environment import peak_memory_mb

Work = Callable[[], object]
CPU = torch.device("cpu")
THREADS = (1, 2)


@dataclass(frozen=True)
class Ratio:
    """How two series of times compare, round by round.

    Attributes:
        median: of the ratios of all rounds.
        low: the smallest of them.
        high: the largest of them.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Median, then the range."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Timing:
    """How long one way took.

    Attributes:
        name: of the way.
        threads: that it had.
        seconds: median over rounds.
        ratio: its seconds divided by those of the first way, round by round.
    """

    name: str
    threads: int
    seconds: float
    ratio: Ratio


def alternate(
    works: Mapping[str, Work], rounds: int, device: torch.device = CPU, *, untimed: int = 1
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each of `rounds` rounds.

    Args:
        works: pieces of work by name.
        rounds: timed rounds.
        device: what they run on; a GPU is waited for before the clock is read.
        untimed: rounds before those.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for index in tqdm(range(untimed + rounds), desc=" / ".join(works), leave=False, disable=None):
        for name, work in works.items():
            taken = clock(work, device)
            if index >= untimed:
                seconds[name].append(taken)
    return seconds


def clock(work: Work, device: torch.device = CPU) -> float:
    """Seconds that `work` takes, all that it started on the device included."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


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


def side_by_side(works: Mapping[str, Work], most_threads: int, rounds: int) -> Iterator[Timing]:
    """Time ways to do the same against the first of them, with each number of threads up to `most_threads`."""
    first = next(iter(works))
    for count in (count for count in THREADS if count <= most_threads):
        with threads(count):
            seconds = alternate(works, rounds)
        for name, taken in seconds.items():
            yield Timing(name, count, median(taken), ratio(taken, seconds[first]))


def extra_memory(
    prepare: Callable[..., Any], arguments: Sequence[Any], work: Callable[[Any], Any]
) -> tuple[Any, float]:
    """What `work(prepare(*arguments))` returns, and the MiB that `work` takes beside its input at its peak.

    Both run in a process of their own, with as many threads as here. All must be picklable, functions by name.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        return apart.submit(_in_process, prepare, tuple(arguments), work, torch.get_num_threads()).result()


def _in_process(
    prepare: Callable[..., Any], arguments: tuple[Any, ...], work: Callable[[Any], Any], count: int
) -> tuple[Any, float]:
    torch.set_num_threads(count)
    given = prepare(*arguments)
    _forget_peak()
    before = _resident_mb()
    return work(given), _peak_mb() - before


def _forget_peak() -> None:
    """Let the kernel count the peak of this process anew (Linux; elsewhere preparing counts as well)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_mb() -> float:
    return _status_mb("VmHWM") or peak_memory_mb(CPU)


def _resident_mb() -> float:
    return _status_mb("VmRSS") or peak_memory_mb(CPU)


def _status_mb(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(f"{field}:")), None)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
