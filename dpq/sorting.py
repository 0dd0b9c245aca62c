"""From scores to rankings: stable sorts of many queries at once, and their groups of tied entries.

Axes: B queries of a block, U entries of a ranking (an entry stands for some items of one score), N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError
from dpq.tie_groups import Ints, RankedGroups

Ties = Literal["expected", "index", "best", "worst"]


def descending(scores: NDArray[Any]) -> tuple[NDArray[Any], Ints]:
    """Stable descending sort of every row; the smaller index comes first among equals.

    Args:
        scores: [B, U] float32, sorted by its bits in linear time, or float64.

    Returns:
        Sort keys [B, U] in their new order, equal exactly where scores are, and that order [B, U].

    Raises:
        InputError: NaN scores.
    """
    if np.isnan(scores).any():
        raise InputError("scores hold NaN, which has no rank; check the embeddings and codebooks")
    if scores.dtype == np.float32:
        keys: NDArray[Any] = (scores + np.float32(0)).view(np.uint32)  # the sum makes -0.0 and 0.0 one value
        # Positive floats order like their bits, negative ones backwards: all but the sign of the positive ones
        # is flipped, so that the largest score has the smallest key.
        keys ^= ~(keys.view(np.int32) >> 31).view(np.uint32) & np.uint32(0x7FFFFFFF)
        order = ascending_order(keys)
    else:
        keys = -scores
        order = np.argsort(keys, axis=1, kind="stable")
    return _in_order(keys, order), order


def ascending_order(keys: NDArray[np.uint32]) -> Ints:
    """Stable ascending order of every row of `keys` [B, U].

    NumPy sorts 16-bit integers by radix; 32 bits take two passes, the lower half first.
    """
    order = np.argsort(keys.astype(np.uint16), axis=1, kind="stable")
    upper = (keys >> np.uint32(16)).astype(np.uint16)
    if upper.any():
        again = np.argsort(_in_order(upper, order), axis=1, kind="stable")
        order = _in_order(order, again)
    return order


def _in_order(values: NDArray[Any], order: Ints) -> NDArray[Any]:
    """Each row of `values` in the order of its row of `order`, as `take_along_axis` in a third of the time."""
    rows = np.arange(len(order))[:, None] * values.shape[1]
    return np.asarray(values.take(order + rows))


def first_items(scores: NDArray[Any], order: Ints, counts: Ints, inverse: Ints, top_r: int) -> Ints:
    """The first R items by the scores of their entries; items of equal score keep their own order.

    Args:
        scores: [B, U] of the entries.
        order: [B, U] of the entries, best first.
        counts: [B, U] items of the entries, in that order.
        inverse: [N] entry of each item.
        top_r: R, at most N.

    Returns:
        [B, R].
    """
    first = np.empty((len(scores), top_r), dtype=np.int64)
    for row, of_entry in enumerate(scores):
        last = order[row, np.searchsorted(np.cumsum(counts[row]), top_r)]  # the entry that the cut falls into
        of_item = of_entry.take(inverse)
        candidates = np.flatnonzero(of_item >= of_entry[last])
        _, best = descending(of_item[None, candidates])
        first[row] = candidates[best[0, :top_r]]
    return first


def tie_groups(sorted_scores: NDArray[Any], counts: Ints | None, relevant: NDArray[Any]) -> RankedGroups:
    """Group a block of sorted rankings by equal score; neighbouring groups without relevant items are merged.

    An entry stands for `counts` items of one score, for instance all images of one code.

    Args:
        sorted_scores: [B, U], best first; anything that compares.
        counts: [B, U] items of an entry, 0 allowed; None means one each.
        relevant: [B, U] relevant items of an entry, bool or integer.

    Raises:
        InputError: shapes differ, a query has no item, or more relevant items than items.
    """
    if sorted_scores.shape != relevant.shape or (counts is not None and counts.shape != relevant.shape):
        raise InputError("scores, counts and relevant items of a ranking must have one shape")
    return _collect(_starts(sorted_scores), counts, relevant)


def tie_groups_within(
    keys: NDArray[Any], counts: Ints, relevant: Ints, top_r: int, ranks: Ints | Sequence[int]
) -> RankedGroups:
    """As `tie_groups`, for metrics of the first R ranks, and hits at other ranks.

    Of the groups beyond the one with rank R, only those that hold one of `ranks` are kept apart; what lies between
    two of them is merged.

    Args:
        keys: [B, U] sort keys, smallest first.
        counts: [B, U] items of an entry.
        relevant: [B, U] relevant items of an entry.
        top_r: R, at most the number of items.
        ranks: [P] ranks that `hits` and `precision` will be asked for; those beyond the ranking stand for its end.
    """
    starts = _starts(keys)
    for row, key, items in zip(starts, keys, np.cumsum(counts, axis=1), strict=True):
        at_rank = key[np.searchsorted(items, np.minimum([top_r, *ranks], items[-1]))]
        first, after = np.searchsorted(key, at_rank), np.searchsorted(key, at_rank, side="right")
        row[after[0] :] = False
        row[first] = True
        row[after[after < len(key)]] = True
    return _collect(starts, counts, relevant)


def strict_groups(relevant: NDArray[np.bool_]) -> RankedGroups:
    """Groups of rankings without ties ([B, N], best first): each relevant item, and each run of others."""
    starts = np.ones(relevant.shape, dtype=bool)
    np.logical_or(relevant[:, 1:], relevant[:, :-1], out=starts[:, 1:])
    return _collect(starts, None, relevant)


def rank_items(scores: NDArray[Any], relevant: NDArray[np.bool_], ties: Ties) -> RankedGroups:
    """Rank single items by score.

    Args:
        scores: [B, N] float, larger is better.
        relevant: [B, N] bool.
        ties: "index" puts the smaller index first among equals; the others keep the ties as groups.

    Raises:
        InputError: NaN scores.
    """
    ranked, order = descending(scores)
    hits = _in_order(relevant, order)
    return strict_groups(hits) if ties == "index" else tie_groups(ranked, None, hits)


def _starts(ranked: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a group of equal neighbours begins in each row, [B, U]."""
    starts = np.ones(ranked.shape, dtype=bool)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=starts[:, 1:])
    return starts


def _collect(starts: NDArray[np.bool_], counts: Ints | None, relevant: NDArray[Any]) -> RankedGroups:
    """Sum entries from one start to the next and accumulate per query.

    Neighbours without relevant items become one group, which no metric can tell apart and which saves most of
    the work; groups without items are dropped.
    """
    rows = len(starts)
    at = np.flatnonzero(starts)
    inside = np.add.reduceat(relevant.ravel(), at, dtype=np.int64)
    kept = inside > 0
    kept[1:] |= kept[:-1].copy()
    kept[np.cumsum(np.count_nonzero(starts, axis=1))[:-1]] = True  # a row's first group stays
    kept[0] = True
    at, inside = at[kept], inside[kept]
    items = np.diff(at, append=starts.size) if counts is None else np.add.reduceat(counts.ravel(), at)
    if (inside > items).any():
        raise InputError("a group has more relevant items than items; counts must include the relevant ones")
    if not items.all():
        held = items > 0
        at, items, inside = at[held], items[held], inside[held]
    bounds = np.searchsorted(at, np.arange(rows + 1) * starts.shape[1])
    if not np.diff(bounds).all():
        raise InputError("a query ranks no item: the database is empty")
    query = np.repeat(np.arange(rows), np.diff(bounds))
    first = bounds[:-1]
    before, relevant_before = np.cumsum(items) - items, np.cumsum(inside) - inside
    return RankedGroups(
        query, items, inside, before - before[first][query], relevant_before - relevant_before[first][query], first
    )
