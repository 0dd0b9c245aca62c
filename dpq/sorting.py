"""From scores to rankings: stable sorts of many queries at once, and their groups of tied entries.

Axes: B queries of a block, U entries of a ranking (an entry stands for some items of one score), N items.
"""

from __future__ import annotations

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
    return np.take_along_axis(keys, order, axis=1), order


def ascending_order(keys: NDArray[np.uint32]) -> Ints:
    """Stable ascending order of every row of `keys` [B, U].

    NumPy sorts 16-bit integers by radix; 32 bits take two passes, the lower half first.
    """
    order = np.argsort(keys.astype(np.uint16), axis=1, kind="stable")
    upper = (keys >> np.uint32(16)).astype(np.uint16)
    if upper.any():
        again = np.argsort(np.take_along_axis(upper, order, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(order, again, axis=1)
    return order


def item_order(keys: NDArray[Any], order: Ints, inverse: Ints) -> Ints:
    """Order of items whose entries are ranked; items of equal score keep their own order.

    Args:
        keys: [B, U] sorted keys of the entries, as `descending` returns them.
        order: [B, U] order of the entries.
        inverse: [N] entry of each item.

    Returns:
        [B, N].
    """
    place = np.zeros(keys.shape, dtype=np.uint32)  # of an entry's score among the different scores of its row
    np.cumsum(keys[:, 1:] != keys[:, :-1], axis=1, dtype=np.uint32, out=place[:, 1:])
    place_of_entry = np.empty_like(place)
    np.put_along_axis(place_of_entry, order, place, axis=1)
    return ascending_order(place_of_entry[:, inverse])


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
    starts = np.ones(relevant.shape, dtype=bool)
    np.not_equal(sorted_scores[:, 1:], sorted_scores[:, :-1], out=starts[:, 1:])
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
    hits = np.take_along_axis(relevant, order, axis=1)
    return strict_groups(hits) if ties == "index" else tie_groups(ranked, None, hits)


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
