"""The methods that `--method` knows; PyTorch is not imported here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pkgutil import iter_modules
from typing import TYPE_CHECKING, get_args

import baselines
from dpq.errors import InputError
from dpq.registry import Registry, Variant

if TYPE_CHECKING:
    from dpq.protocols import Split

log = logging.getLogger(__name__)

VARIANTS: tuple[str, ...] = get_args(Variant)
METHODS = Registry(
    {"dpq": "dpq.method.dpq"}
    | {file.name.replace("_", "-"): f"baselines.{file.name}" for file in iter_modules(baselines.__path__)}
)


def suited(methods: Sequence[str], train: Split, codebook_size: int, *, named: bool) -> list[str]:
    """The methods that are made for these training images; those that nobody named are left out where they are not.

    Raises:
        InputError: a method was named that is not.
    """
    kept = []
    for name in methods:
        check = METHODS[name].entry.check
        try:
            if check is not None:
                check(train, codebook_size)
        except InputError as error:
            if named:
                raise
            log.info("left out: %s", error)
        else:
            kept.append(name)
    return kept


def reported_lengths(method: str, bits: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The code lengths that each training reports.

    One training reports them all if a prefix of a code is itself a code. Else each has its own, and the longest one
    reports its truncated codes too.
    """
    if METHODS[method].progressive:
        return [bits]
    ascending = tuple(sorted(bits))
    return [*((length,) for length in ascending[:-1]), ascending]
