"""All metrics of a coded database of CIFAR-10's size, against the obvious evaluation: time, memory, values.

The obvious one is as released programs of the field have it: every score in float64, a full argsort, and labels of the
ranked images compared row by row. Axes: Q queries, N database, D dimensions, L classes, P ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.bench.measure import alternate, extra_memory, ratio, threads
from benchmarks.bench.report import Options, Promise, Report, Table
from benchmarks.bench.synthetic import BITS, CIFAR10, CODEBOOK_SIZE, CodedSet, coded_set
from benchmarks.records.record import KS
from dpq.codes.additive import decode, levels_for
from dpq.ranking.curves import geometric_ranks
from dpq.ranking.evaluate import RankingResult, evaluate_codes
from dpq.ranking.ties import Floats

FASTER, MEMORY, EQUAL = 6, 0.25, 1e-9


def measure(options: Options) -> Report:
    """Evaluate at all code lengths in turns, in one thread; memory and values of each in a process of its own."""
    queries, database = options.size(1000, 20), options.size(54_000, 3000)
    data = coded_set(CIFAR10, queries, database)
    works = {
        f"{name} {bits}": partial(evaluate, data, levels_for(bits, CODEBOOK_SIZE))
        for bits in BITS
        for name, evaluate in (("ours", ours), ("obvious", obvious))
    }
    with threads(1):
        seconds = alternate(works, rounds=options.size(2, 1), untimed=0)
    rows = [_row(str(bits), seconds[f"ours {bits}"], seconds[f"obvious {bits}"]) for bits in BITS]
    whole = {name: np.sum([seconds[f"{name} {bits}"] for bits in BITS], axis=0) for name in ("ours", "obvious")}
    rows.append(_row("all", whole["ours"], whole["obvious"]))
    arguments = CIFAR10, queries, database
    found, memory = extra_memory(coded_set, arguments, ours_at_all)
    known, memory_of_obvious = extra_memory(coded_set, arguments, obvious_at_all)
    return Report(
        "evaluation",
        f"All metrics of a record for {queries:,} queries among {database:,} images of ten classes, at every code "
        "length, against the obvious evaluation of released programs: every score in float64, a full stable argsort, "
        "the labels of the ranked images compared row by row. Ours computes more: expectation and bounds over tie "
        "orders, and all denominators. One thread each.",
        [
            Table("Seconds, median of the rounds", rows),
            Table("Memory beside the input, MiB", [{"ours": round(memory), "obvious": round(memory_of_obvious)}]),
        ],
        [
            Promise("times as fast", ratio(whole["obvious"], whole["ours"]).median, FASTER, "at least"),
            Promise("share of its extra memory", memory / memory_of_obvious, MEMORY, "at most"),
            Promise(
                "largest difference of mAP, ties in database order",
                float(np.abs(np.subtract(found, known)).max()),
                EQUAL,
                "at most",
            ),
        ],
    )


def ours(data: CodedSet, levels: int) -> RankingResult:
    """The library's evaluation by codes of `levels` levels."""
    labels = data.query_labels, data.database_labels
    return evaluate_codes(data.queries, labels[0], data.codes[:, :levels], labels[1], data.codebooks[:levels], None, KS)


def obvious(data: CodedSet, levels: int) -> ObviousResult:
    """The obvious one, at the same ranks."""
    ranks = [k for k in KS if k <= len(data.codes)]
    return evaluate_obviously(data, levels, [*ranks, *geometric_ranks(len(data.codes))])


def ours_at_all(data: CodedSet) -> list[float]:
    """MAP by `ours` at all code lengths, ties in database order."""
    return [ours(data, levels_for(bits, CODEBOOK_SIZE)).map_ties_index for bits in BITS]


def obvious_at_all(data: CodedSet) -> list[float]:
    """MAP by `obvious` at all code lengths."""
    return [obvious(data, levels_for(bits, CODEBOOK_SIZE)).map for bits in BITS]


@dataclass(frozen=True)
class ObviousResult:
    """Means over queries; tied images keep their order in the database.

    Attributes:
        map: mean average precision over the whole ranking.
        precision: [P] at the asked ranks.
        recall: [P].
    """

    map: float
    precision: Floats
    recall: Floats


def evaluate_obviously(data: CodedSet, levels: int, ranks: Sequence[int]) -> ObviousResult:
    """Rank the whole database for every query by codes of `levels` levels, and measure at `ranks` [P]."""
    database = decode(data.codes[:, :levels], data.codebooks[:levels]).double().numpy()
    scores = data.queries.double().numpy() @ database.T  # [Q, N]
    order = np.argsort(-scores, axis=1, kind="stable")
    labels, at = data.database_labels.numpy().astype(np.int64), np.asarray(ranks) - 1
    averages, precisions, recalls = [], [], []
    for ranking, label in zip(order, data.query_labels.numpy().astype(np.int64), strict=True):
        wanted = np.where(label == 0, -1, label)
        relevant = np.sum(labels[ranking] == wanted, axis=1) > 0
        hits = np.cumsum(relevant)
        precision = hits / np.arange(1, len(hits) + 1)
        found = max(1, hits[-1])
        averages.append(np.sum(precision * relevant) / found)
        precisions.append(precision[at])
        recalls.append(hits[at] / found)
    return ObviousResult(float(np.mean(averages)), np.mean(precisions, axis=0), np.mean(recalls, axis=0))


def _row(bits: str, ours: Sequence[float], obvious: Sequence[float]) -> dict[str, Any]:
    return {
        "bits": bits,
        "ours": f"{median(ours):.2f}",
        "obvious": f"{median(obvious):.2f}",
        "times as fast": str(ratio(obvious, ours)),
    }
