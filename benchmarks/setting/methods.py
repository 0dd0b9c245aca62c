"""The methods that `--method` knows; PyTorch is not imported here."""

from __future__ import annotations

from pkgutil import walk_packages

import baselines
from dpq.learning.entry import Registry

METHODS = Registry(
    {"dpq": "dpq.method.dpq"}
    | {
        file.name.rpartition(".")[2].replace("_", "-"): file.name
        for file in walk_packages(baselines.__path__, "baselines.")
    }
)


def studied(method: str) -> str:
    """The method whose study is this one's: that whose embeddings it quantizes, or itself."""
    source = METHODS[method].source
    return source if source is not None and source in METHODS else method


def reported_lengths(method: str, bits: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The code lengths that each training reports.

    One training reports them all if a prefix of a code is itself a code. Else each has its own, and the longest one
    reports its truncated codes too.
    """
    if METHODS[method].progressive:
        return [bits]
    ascending = tuple(sorted(bits))
    return [*((length,) for length in ascending[:-1]), ascending]
