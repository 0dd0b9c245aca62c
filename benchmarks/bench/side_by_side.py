"""Ways to do the same, timed in turns with one thread and with two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.bench.measure import Ratio, Work, alternate, ratio, threads

THREADS = (1, 2)


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


def side_by_side(works: Mapping[str, Work], most_threads: int, rounds: int) -> Iterator[Timing]:
    """Time ways to do the same against the first of them, with each number of threads up to `most_threads`."""
    first = next(iter(works))
    for count in (count for count in THREADS if count <= most_threads):
        with threads(count):
            seconds = alternate(works, rounds)
        for name, taken in seconds.items():
            yield Timing(name, count, median(taken), ratio(taken, seconds[first]))
