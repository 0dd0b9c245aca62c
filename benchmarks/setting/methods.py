"""The methods that `--method` knows, and what an experiment's settings say of one; PyTorch is not imported here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, get_args

import baselines
from dpq.errors import InputError
from dpq.registry import Registry, Variant

if TYPE_CHECKING:
    from benchmarks.records.record import Record
    from benchmarks.setting.experiment import Experiment
    from dpq.protocols import Split

log = logging.getLogger(__name__)

VARIANTS: tuple[str, ...] = get_args(Variant)
METHODS = Registry(
    {"dpq": "dpq.method.dpq"}
    | {file.name.replace("_", "-"): f"baselines.{file.name}" for file in iter_modules(baselines.__path__)}
)
BUILT_IN = METHODS.own


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


def score_of(name: str, experiment: Experiment) -> Any:
    """How a method ranks: quantizers of another method's embeddings rank as that method does."""
    return experiment.settings_of(METHODS[name].configs[0]).score


def query_precision_of(name: str, experiment: Experiment) -> str:
    """The precision that queries are rounded to before ranking; DPQ's released code has a lower one."""
    return str(getattr(experiment.settings_of(METHODS[name].configs[0]), "query_precision", "float32"))


def recorded_query_precision(record: Record) -> str:
    """As `query_precision_of`, for the run of a record."""
    return str(record.config.methods[METHODS[record.method].configs[0]].get("query_precision", "float32"))


def with_variant(experiment: Experiment, variant: str) -> Experiment:
    """The experiment with the variant's switches written out, as the record keeps it."""
    if variant == "paper":
        return experiment
    having = [method.table for method in METHODS.own.values() if method.table and variant in method.variants]
    released = {table: experiment.settings_of(table).released() for table in having}
    return replace(experiment, methods={**experiment.methods, **released})
