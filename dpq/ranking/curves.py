"""Precision and recall at ranks spread evenly on a logarithmic axis. Axes: Q queries, P ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpq.ranking.ties import Floats, Ints


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at some ranks, averaged over queries.

    Attributes:
        ranks: [P].
        recall: [P] hits so far by all relevant items.
        precision: [P] hits so far by rank.
    """

    ranks: Ints
    recall: Floats
    precision: Floats


def average_curve(hits: Floats, total_relevant: Ints, ranks: Ints) -> PrecisionRecall:
    """The curve of `hits` [Q, P] at `ranks` [P] of queries with `total_relevant` [Q] relevant items."""
    held = total_relevant > 0
    hits, queries = hits[held], max(1, np.count_nonzero(held))
    recall = (hits / total_relevant[held, None]).sum(axis=0) / queries
    return PrecisionRecall(ranks, recall, hits.sum(axis=0) / queries / ranks)


def geometric_ranks(size: int, points: int = 50) -> Ints:
    """About `points` whole ranks from 1 to `size`, evenly spread on a logarithmic axis."""
    return np.unique(np.geomspace(1, max(size, 1), points).round().astype(np.int64))
