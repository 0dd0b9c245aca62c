"""What mAP a plain argsort gives when the same coded images stand in another order."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from benchmarks.exhibits.draws import SEED, first_labels, shuffled
from benchmarks.exhibits.exhibit import Orders, Ties
from benchmarks.records.raw import RawResult
from benchmarks.records.record import Record
from benchmarks.running.evaluation import evaluate_again

log = logging.getLogger(__name__)


def measure_orders(record: Record, raw: RawResult) -> Ties:
    """The mAP of the record's codes by stable argsort, for three orders of the database."""
    orders: dict[int, dict[str, float]] = {length.bits: {} for length in record.lengths}
    by_class = np.argsort(first_labels(raw.database_labels), kind="stable")
    for name, order in (
        ("class-sorted", by_class),
        ("shuffled", shuffled(len(raw.codes), "database order")),
        ("reversed", by_class[::-1]),
    ):
        log.info("%s: %s database", record.id, name)
        ordered = replace(raw, codes=raw.codes[order], database_labels=raw.database_labels[order])
        for length in evaluate_again(record, ordered)[0]:
            orders[length.bits][name] = length.map_ties_index
    return Ties(run=record.id, shuffle_seed=SEED, lengths=tuple(map(Orders, orders, orders.values())))
