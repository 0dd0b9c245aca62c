"""All metrics of a coded database of CIFAR-10's size, against the obvious evaluation: time, memory, values.

The obvious one is as released programs of the field have it: every score in float64, a full argsort, and labels of the
ranked images compared row by row. Axes: Q queries, N database, D dimensions, L classes, P ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np

from benchmarks.bench.measure import alternate, extra_memory, ratio, threads
from benchmarks.bench.report import Options, Promise, Report
from benchmarks.bench.synthetic import CIFAR10, LEVELS, CodedSet, coded_set
from benchmarks.records.record import KS
from dpq.codes.additive import decode
from dpq.ranking.curves import geometric_ranks
from dpq.ranking.evaluate import evaluate_codes
from dpq.ranking.ties import Floats


def measure(options: Options) -> Report:
    """Evaluate at all code lengths in turns, in one thread; memory and values of each in a process of its own."""
    queries, database = options.size(1000, 20), options.size(54_000, 3000)
    data = coded_set(CIFAR10, queries, database)
    lengths = {8 * levels: levels for levels in range(1, LEVELS + 1)}
    works = {f"{way.__name__} {bits}": partial(way, data, n) for bits, n in lengths.items() for way in (ours, obvious)}
    with threads(1):
        seconds = alternate(works, rounds=options.size(2, 1), untimed=0)
    taken = {str(bits): (seconds[f"ours {bits}"], seconds[f"obvious {bits}"]) for bits in lengths}
    taken["all"] = tuple(np.sum(list(taken.values()), axis=0).tolist())
    faster = {bits: ratio(other, own) for bits, (own, other) in taken.items()}
    rows = [
        {
            "bits": bits,
            "ours": f"{median(own):.2f}",
            "obvious": f"{median(other):.2f}",
            "times as fast": str(faster[bits]),
        }
        for bits, (own, other) in taken.items()
    ]
    (found, memory), (known, memory_of_obvious) = (
        extra_memory(coded_set, (CIFAR10, queries, database), partial(_at_all_lengths, way)) for way in (ours, obvious)
    )
    different = float(np.abs(np.subtract(found, known)).max())
    return Report(
        "evaluation",
        f"All metrics of a record for {queries:,} queries among {database:,} images of ten classes, at every code "
        "length, against the obvious evaluation of released programs: every score in float64, a full stable argsort, "
        "the labels of the ranked images compared row by row. Ours computes more: expectation and bounds over tie "
        "orders, and all denominators. One thread each.",
        {
            "Seconds, median of the rounds": rows,
            "Memory beside the input, MiB": [{"ours": round(memory), "obvious": round(memory_of_obvious)}],
        },
        [
            Promise("times as fast", faster["all"].median, 6, "at least"),
            Promise("share of its extra memory", memory / memory_of_obvious, 0.25, "at most"),
            Promise("largest difference of mAP, ties in database order", different, 1e-9, "at most"),
        ],
    )


def ours(data: CodedSet, levels: int) -> float:
    """MAP, ties in database order, by the library's evaluation of codes of `levels` levels."""
    labels = data.query_labels, data.database_labels
    codes, codebooks = data.codes[:, :levels], data.codebooks[:levels]
    return evaluate_codes(data.queries, labels[0], codes, labels[1], codebooks, None, KS).map_ties_index


def obvious(data: CodedSet, levels: int) -> float:
    """MAP by the obvious evaluation, at the same ranks."""
    ranks = [k for k in KS if k <= len(data.codes)]
    return evaluate_obviously(data, levels, [*ranks, *geometric_ranks(len(data.codes))])[0]


def _at_all_lengths(way: Callable[[CodedSet, int], float], data: CodedSet) -> list[float]:
    return [way(data, levels) for levels in range(1, LEVELS + 1)]


def evaluate_obviously(data: CodedSet, levels: int, ranks: Sequence[int]) -> tuple[float, Floats, Floats]:
    """Rank the whole database for every query by codes of `levels` levels; tied images keep their order in it.

    Returns:
        Means over queries: average precision of the whole ranking, precision and recall at `ranks`, both [P].
    """
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
    return float(np.mean(averages)), np.mean(precisions, axis=0), np.mean(recalls, axis=0)
