"""Retrieval metrics, exact under ties: average precision, precision at K, precision-recall curves.

With short codes most items are tied, and the order of ties is no merit of a method. By default every metric is
its expected value over random orders of tied items. Axes: Q queries, N database items, P ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError
from dpq.inputs.values import Numbers, as_array, as_flags, one_of, whole_number, whole_numbers
from dpq.protocols.base import Denominator
from dpq.ranking.curves import PrecisionRecall, average_curve, geometric_ranks
from dpq.ranking.ties import Floats, RankedGroups, Ties, rank_items

BLOCK = 2**21  # scores ranked at once; bounds the working memory to about 200 MB


def average_precision(
    scores: Numbers,
    relevant: Numbers,
    top_r: int | None = None,
    ties: Ties = "expected",
    denominator: Denominator = "hits",
) -> Floats:
    """Average precision of every query, over the first `top_r` ranks.

    Args:
        scores: [Q, N] float, larger is better (or [N] for one query); array or tensor.
        relevant: [Q, N] bool, or numbers that are 0 or 1.
        top_r: ranks R that count; None or more than N means all.
        ties: "expected" over random orders of tied items (McSherry and Najork, ECIR 2008), exact; "index" puts
            the smaller index first, as a stable argsort does; "best" and "worst" are the extreme orders.
        denominator: what the sum of precisions is divided by: "hits", relevant items inside the first R (what
            released retrieval code does); "total", all relevant items; "capped", the smaller of R and all relevant.

    Returns:
        Shape of `scores` without its last axis; 0 for a query with nothing relevant among its first R.

    Raises:
        InputError: shapes differ, nothing to rank, NaN scores, `relevant` not binary, `top_r` below 1, or an
            unknown option.
    """
    cut = None if top_r is None else whole_number("top_r", top_r)
    shape, ranked = _ranked(scores, relevant, ties)
    return np.concatenate([groups.average_precision(cut, denominator, ties) for groups in ranked]).reshape(shape)


def mean_average_precision(
    scores: Numbers,
    relevant: Numbers,
    top_r: int | None = None,
    ties: Ties = "expected",
    denominator: Denominator = "hits",
) -> float:
    """Mean of `average_precision` over all queries; those without a hit count 0.

    Args:
        scores: [Q, N] float, larger is better.
        relevant: [Q, N] bool.
        top_r: as for `average_precision`.
        ties: as for `average_precision`.
        denominator: as for `average_precision`.

    Raises:
        InputError: as for `average_precision`.
    """
    return float(average_precision(scores, relevant, top_r, ties, denominator).mean())


def precision_at_k(scores: Numbers, relevant: Numbers, k: int, ties: Ties = "expected") -> Floats:
    """Share of relevant items among the first k ranks of every query.

    Args:
        scores: [Q, N] float, larger is better (or [N] for one query).
        relevant: [Q, N] bool.
        k: number of ranks; more than N stands for N.
        ties: as for `average_precision`.

    Returns:
        Shape of `scores` without its last axis.

    Raises:
        InputError: `k` below 1, or as for `average_precision`.
    """
    ranks = [whole_number("k", k)]
    shape, ranked = _ranked(scores, relevant, ties)
    return np.concatenate([groups.precision(ranks, ties) for groups in ranked]).reshape(shape)


def precision_recall_curve(
    scores: Numbers, relevant: Numbers, ranks: Numbers | None = None, ties: Ties = "expected"
) -> PrecisionRecall:
    """Mean precision and recall of the queries that have relevant items.

    Recall is by all relevant items of the database, not by those that some cut retrieves.

    Args:
        scores: [Q, N] float, larger is better (or [N] for one query).
        relevant: [Q, N] bool.
        ranks: [P] from 1 to N; None means `geometric_ranks(N)`.
        ties: as for `average_precision`; "best" and "worst" hold rank by rank.

    Returns:
        The curve; all 0 when no query has a relevant item.

    Raises:
        InputError: a rank outside 1 to N, or as for `average_precision`.
    """
    scores = np.atleast_1d(as_array(scores, "scores"))
    size = scores.shape[-1]
    at = geometric_ranks(size) if ranks is None else np.array(whole_numbers("ranks", ranks, 1, max(size, 1)))
    if not at.size:
        raise InputError(f"ranks must be a list of numbers from 1 to {size}; got none")
    blocks = [(groups.hits(at, ties), groups.total_relevant) for groups in _ranked(scores, relevant, ties)[1]]
    return average_curve(np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks]), at)


def _ranked(scores: Numbers, relevant: Numbers, ties: Ties) -> tuple[tuple[int, ...], Iterator[RankedGroups]]:
    """Check the input: the shape of a metric, and the ranked groups of some queries at a time."""
    one_of("ties", ties, get_args(Ties))
    given, hits = as_array(scores, "scores"), np.atleast_1d(as_flags(relevant, "relevant"))
    shape, values = given.shape[:-1], np.atleast_1d(given)
    if values.shape != hits.shape:
        raise InputError(f"scores and relevant must have one shape; got {list(values.shape)} and {list(hits.shape)}")
    if not values.size:
        raise InputError(f"nothing to rank: scores have shape {list(values.shape)}")
    values, hits = (x.reshape(-1, values.shape[-1]) for x in (_sortable(values), hits))
    rows = max(1, BLOCK // values.shape[1])
    starts = range(0, len(values), rows)
    return shape, (rank_items(values[start : start + rows], hits[start : start + rows], ties) for start in starts)


def _sortable(scores: NDArray[Any]) -> NDArray[Any]:
    """Scores as float32 or float64, in the same order and equal where they are equal."""
    if scores.dtype in (np.float16, np.float32):
        return scores.astype(np.float32, copy=False)
    exact = scores.astype(np.float64, copy=False)
    if scores.dtype == np.float64 or np.isnan(exact).any() or (scores.dtype.kind != "f" and abs(exact).max() < 2**53):
        return exact
    return np.unique(scores, return_inverse=True)[1].reshape(scores.shape).astype(np.float64)  # their places
