"""One list of runs over several machines: each does a shard, and together they leave what one would."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.methods import METHODS
from benchmarks.plan import Run


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work.

    Attributes:
        index: of this part, from 1.
        count: of parts.
    """

    index: int
    count: int

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.index}/{self.count}"


def shard(text: str) -> Shard:
    """Read `i/n`."""
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        index = count = 0
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"expected i/n with i from 1 to n, got {text!r}")
    return Shard(index, count)


def take_shard(runs: Sequence[Run], shard: Shard, turn: int = 0) -> list[Run]:
    """The runs of a shard, in their order; runs that share a training or stored embeddings stay together.

    A function of the runs that a call asks for, whatever is done already: the shards of one call never overlap, at
    whatever time and on whatever machine each is started. The longest pieces are dealt first, each to the shard that
    has least.

    Args:
        runs: of the whole call.
        shard: which part.
        turn: of several lists of runs, which this is; shards take turns at what comes first.
    """
    pieces: dict[str, list[Run]] = {}
    for run in runs:
        pieces.setdefault(run.lock.name, []).append(run)
    loads = [0.0] * shard.count
    mine: set[str] = set()
    for name, piece in sorted(pieces.items(), key=lambda item: -_load(item[1])):
        least = loads.index(min(loads))
        loads[least] += _load(piece)
        if (least + turn) % shard.count == shard.index - 1:
            mine.add(name)
    return [run for run in runs if run.lock.name in mine]


def _load(piece: Sequence[Run]) -> float:
    """Trainings in a piece; a run without one takes about a tenth of one."""
    return sum(0.1 if METHODS[run.method].source else 1.0 for run in piece)
