"""Retrieval metrics, exact under ties: average precision, precision at K, precision-recall curves.

With short codes most items are tied, and the order of ties is no merit of a method. By default every metric is
its expected value over random orders of tied items. Axes: Q queries, N database items, P ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dpq.errors import InputError
from dpq.protocols.base import Denominator
from dpq.ranking.curves import PrecisionRecall, average_curve, geometric_ranks
from dpq.ranking.ties import Floats, RankedGroups, Ties, at_least_one, rank_items

BLOCK = 2**21  # scores ranked at once; bounds the working memory to about 200 MB

Scores = ArrayLike | Tensor


def average_precision(
    scores: Scores,
    relevant: Scores,
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
    values = [groups.average_precision(top_r, denominator, ties) for groups in _ranked(scores, relevant, ties)]
    return np.concatenate(values).reshape(np.shape(scores)[:-1])


def mean_average_precision(
    scores: Scores,
    relevant: Scores,
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


def precision_at_k(scores: Scores, relevant: Scores, k: int, ties: Ties = "expected") -> Floats:
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
    at_least_one("k", k)
    shares = [groups.precision([k], ties) for groups in _ranked(scores, relevant, ties)]
    return np.concatenate(shares).reshape(np.shape(scores)[:-1])


def precision_recall_curve(
    scores: Scores, relevant: Scores, ranks: ArrayLike | None = None, ties: Ties = "expected"
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
    size = np.shape(scores)[-1] if np.ndim(scores) else 0
    at = geometric_ranks(size) if ranks is None else np.atleast_1d(np.asarray(ranks))
    if ranks is not None and (at.ndim != 1 or not at.size or at.max() > size):
        raise InputError(f"ranks of a curve must be a list of numbers from 1 to {size}; got {ranks!r}")
    blocks = [(groups.hits(at, ties), groups.total_relevant) for groups in _ranked(scores, relevant, ties)]
    return average_curve(np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks]), at)


def _ranked(scores: Scores, relevant: Scores, ties: Ties) -> Iterator[RankedGroups]:
    """Check the input and rank it, some queries at a time."""
    if ties not in get_args(Ties):
        raise InputError(f"ties must be one of {', '.join(get_args(Ties))}; got {ties!r}")
    values, hits = _array(scores), _array(relevant)
    if values.shape != hits.shape:
        raise InputError(f"scores and relevant must have one shape; got {list(values.shape)} and {list(hits.shape)}")
    if not values.size:
        raise InputError(f"nothing to rank: scores have shape {list(values.shape)}")
    values = values.astype(np.float32 if values.dtype in (np.float16, np.float32) else np.float64, copy=False)
    if hits.dtype != np.bool_ and not np.isin(hits, (0, 1)).all():
        raise InputError("relevant must be bool, or hold only 0 and 1")
    values, hits = (x.reshape(-1, values.shape[-1]) for x in (values, hits.astype(np.bool_, copy=False)))
    rows = max(1, BLOCK // values.shape[1])
    for start in range(0, len(values), rows):
        yield rank_items(values[start : start + rows], hits[start : start + rows], ties)


def _array(x: Scores) -> NDArray[Any]:
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return np.atleast_1d(np.asarray(x))
