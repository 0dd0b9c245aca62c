"""What mAP a plain argsort gives when the same coded images stand in another order."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.evaluation import evaluate_lengths
from benchmarks.exhibits.draws import SEED, first_labels, shuffled
from benchmarks.methods import recorded_query_precision
from benchmarks.raw_results import RawResult
from dpq.tie_groups import Ints

log = logging.getLogger(__name__)


def measure_orders(record: dict[str, Any], raw: RawResult) -> dict[str, Any]:
    """The mAP of the record's codes by stable argsort, for three orders of the database.

    Returns:
        `shuffle_seed`, and in `lengths` an entry a code length, with `bits` and mAP of all `orders`.
    """
    bits = [entry["bits"] for entry in record["lengths"]]
    lengths: list[dict[str, Any]] = [{"bits": length, "orders": {}} for length in bits]
    for name, order in _orders(raw).items():
        log.info("%s: %s database", record["id"], name)
        ordered = replace(raw, codes=raw.codes[order], database_labels=raw.database_labels[order])
        measured = evaluate_lengths(
            ordered, bits, record["cut"], record["score"], recorded_query_precision(record), progress=True
        )
        for entry, values in zip(lengths, measured, strict=True):
            entry["orders"][name] = values["map_ties_index"]
    return {"shuffle_seed": SEED, "lengths": lengths}


def _orders(raw: RawResult) -> dict[str, Ints]:
    """Rows of the database in each order, [N]."""
    by_class = np.argsort(first_labels(raw.database_labels), kind="stable")
    return {
        "class-sorted": by_class,
        "shuffled": shuffled(len(raw.codes), "database order"),
        "reversed": by_class[::-1],
    }
