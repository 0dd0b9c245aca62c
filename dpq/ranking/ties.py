"""From scores to rankings as groups of tied items, and their exact metrics.

A ranking with ties is a list of groups; within a group every order is as good as any other. A metric is then
an expectation over those orders (McSherry and Najork, ECIR 2008) or its extreme. All of them have closed forms
in four numbers per group: n items and r relevant ones, n0 items and r0 relevant ones before it.
Axes: B queries of a block, U entries of a ranking (an entry stands for some items of one score), N items, G groups of
all queries, P ranks asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from dpq.errors import InputError
from dpq.protocols.base import Denominator

Ties = Literal["expected", "index", "best", "worst"]
Within = Literal["expected", "best", "worst"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PLACE = np.uint64(32)  # bits that the place of a score takes in a packed sort key


@dataclass(frozen=True)
class RankedGroups:
    """Groups of tied items of a block of queries, best first, those of all queries in one flat list.

    Neighbouring groups may be merged into one if they hold no relevant items, as no metric tells them apart, or if
    no metric reads their ranks.

    Attributes:
        query: [G] row of the block that a group belongs to, ascending; every row has a group.
        items: [G] items in the group (n), at least 1.
        relevant: [G] relevant items in the group (r).
        items_before: [G] items of the same query in better groups (n0).
        relevant_before: [G] relevant items of the same query in better groups (r0).
        first: [B] each query's first group.
    """

    query: Ints
    items: Ints
    relevant: Ints
    items_before: Ints
    relevant_before: Ints
    first: Ints

    @cached_property
    def total_items(self) -> Ints:
        """Ranked items of each query, [B]."""
        last = self._last
        return self.items_before[last] + self.items[last]

    @cached_property
    def total_relevant(self) -> Ints:
        """Relevant items of each query, [B]."""
        last = self._last
        return self.relevant_before[last] + self.relevant[last]

    @property
    def _last(self) -> Ints:
        return np.append(self.first[1:], len(self.query)) - 1

    def hits(self, ranks: ArrayLike, ties: Within = "expected") -> Floats:
        """Relevant items among the first k ranks.

        Args:
            ranks: [P] ranks k, at least 1; those beyond the ranking stand for its end.
            ties: the expected number over tie orders, or that of the best or worst order for each k.

        Returns:
            [B, P].

        Raises:
            InputError: a rank below 1.
        """
        k = np.minimum(at_least_one("ranks", ranks), self.total_items[:, None])
        group = self._groups_at(k)
        items, relevant, slots = self.items[group], self.relevant[group], k - self.items_before[group]
        if ties == "best":
            inside = np.minimum(slots, relevant).astype(np.float64)
        elif ties == "worst":
            inside = np.maximum(slots - (items - relevant), 0).astype(np.float64)
        else:
            inside = slots * (relevant / items)
        return self.relevant_before[group] + inside

    def precision(self, ranks: ArrayLike, ties: Within = "expected") -> Floats:
        """Share of relevant items among the first k ranks, [B, P]; arguments and errors as for `hits`."""
        return self.hits(ranks, ties) / np.minimum(ranks, self.total_items[:, None])

    def average_precision(
        self, top_r: int | None = None, denominator: Denominator = "hits", ties: Within = "expected"
    ) -> Floats:
        """Average precision over the first `top_r` ranks.

        Where the cut falls inside a group, the result is conditioned on h, how many of the group's relevant
        items make the cut: h is hypergeometric, and given h their places among the slots are equally likely.

        Args:
            top_r: ranks R that count; None or more than there are means all.
            denominator: what the sum of precisions is divided by: relevant items inside the first R ("hits"),
                all relevant items ("total"), or the smaller of R and all relevant items ("capped").
            ties: the expectation over tie orders, or the best or worst order.

        Returns:
            [B]; 0 where nothing relevant is among the first R.

        Raises:
            InputError: `top_r` below 1, or an unknown denominator.
        """
        return self.precision_sums(top_r, ties).over(denominator)

    def precision_sums(self, top_r: int | None = None, ties: Within = "expected") -> PrecisionSums:
        """What `average_precision` divides, for several denominators; arguments and errors as there."""
        cut = self.total_items
        if top_r is not None:
            cut = np.minimum(at_least_one("top_r", top_r), cut)
        group = self._groups_at(cut[:, None])[:, 0]
        query, h = self._inside_hits(group, cut)
        before, group_of = self._whole_groups(group, ties), group[query]
        n0, r0 = self.items_before[group_of], self.relevant_before[group_of]
        slots = cut[query] - n0
        summed = before[query] + self._precision_sum(n0, r0, slots, h, ties)
        log_ways = _log_ways(self.items[group_of], self.relevant[group_of], slots, h)
        return PrecisionSums(query, summed, r0 + h, log_ways, self.total_relevant, cut, ties)

    def _groups_at(self, ranks: Ints) -> Ints:
        """The group that holds each rank ([B, P], 1 to N), [B, P]."""
        ends = np.cumsum(self.items)  # over all queries of the block, so one search serves them all
        return np.searchsorted(ends, (ends - self.items)[self.first][:, None] + ranks)

    def _inside_hits(self, group: Ints, cut: Ints) -> tuple[Ints, Ints]:
        """Every possible number of hits in the group with the cut: query rows and hits, query by query."""
        slots = cut - self.items_before[group]
        least = np.maximum(slots - (self.items - self.relevant)[group], 0)
        choices = np.minimum(slots, self.relevant[group]) - least + 1
        query: Ints = np.repeat(np.arange(len(group)), choices)
        before = np.cumsum(choices) - choices
        return query, np.arange(len(query)) - before[query] + least[query]

    def _whole_groups(self, group: Ints, ties: Within) -> Floats:
        """Sum of precisions over the groups of each query before `group` ([B]), [B]."""
        inside = np.flatnonzero((self.relevant > 0) & (np.arange(len(self.query)) < group[self.query]))
        sums = self._precision_sum(
            self.items_before[inside], self.relevant_before[inside], self.items[inside], self.relevant[inside], ties
        )
        return np.bincount(self.query[inside], sums, minlength=len(group)).astype(np.float64, copy=False)

    def _precision_sum(self, n0: Ints, r0: Ints, m: Ints, h: Ints, ties: Within) -> Floats:
        """Sum of the precisions at the h relevant of m tied items that follow n0 items, r0 of them relevant.

        Expected (McSherry and Najork 2008): place j is relevant with probability h/m, and then on average
        (j-1)(h-1)/(m-1) of the places before it are. Sums over j are differences of harmonic numbers. The best
        order puts the h relevant items first, the worst puts them last.
        """
        table = _harmonic_numbers(int(self.total_items.max()))
        if ties == "best":
            return np.asarray(h - (n0 - r0) * (table[n0 + h] - table[n0]))
        if ties == "worst":
            return np.asarray(h - (n0 + m - h - r0) * (table[n0 + m] - table[n0 + m - h]))
        inverses = table[n0 + m] - table[n0]  # sum of 1 / (n0 + j)
        mates = (h - 1) / np.maximum(m - 1, 1)
        return np.asarray((h / m) * ((r0 + 1) * inverses + mates * (m - (n0 + 1) * inverses)))


@dataclass(frozen=True)
class PrecisionSums:
    """Sums of precisions at the relevant items of each query, given how many make the cut.

    Axis S: for each query, every possible number of hits in the group that the cut falls into.

    Attributes:
        query: [S] row of the block, ascending.
        summed: [S] sum of precisions.
        hits: [S] relevant items inside the cut.
        log_ways: [S] logarithm of how many tie orders have so many, less a number that a query's share.
        total_relevant: [B].
        cut: [B].
        ties: that the sums are for.
    """

    query: Ints
    summed: Floats
    hits: Ints
    log_ways: Floats
    total_relevant: Ints
    cut: Ints
    ties: Within

    def over(self, denominator: Denominator) -> Floats:
        """Average precision, [B].

        Raises:
            InputError: an unknown denominator.
        """
        divisor = {
            "hits": self.hits,
            "total": self.total_relevant[self.query],
            "capped": np.minimum(self.cut, self.total_relevant)[self.query],
        }.get(denominator)
        if divisor is None:
            raise InputError(f"the denominator must be 'hits', 'total' or 'capped'; got {denominator!r}")
        value = np.divide(self.summed, divisor, out=np.zeros(len(divisor)), where=divisor > 0)
        starts = np.searchsorted(self.query, np.arange(len(self.cut)))
        if self.ties == "best":
            return np.maximum.reduceat(value, starts)
        if self.ties == "worst":
            return np.minimum.reduceat(value, starts)
        ways = np.exp(self.log_ways - np.maximum.reduceat(self.log_ways, starts)[self.query])
        return np.asarray(np.add.reduceat(ways * value, starts) / np.add.reduceat(ways, starts))


@lru_cache(maxsize=4)
def _harmonic_numbers(size: int) -> Floats:
    """Entry n is 1 + 1/2 + ... + 1/n, up to n = `size`; kept, as all blocks of a database need the same."""
    return np.append(0.0, np.cumsum(1 / np.arange(1, size + 1)))


def _log_ways(n: Ints, r: Ints, m: Ints, h: Ints) -> Floats:
    """Logarithm of the ways to have h hits in m of n places, less a term that does not depend on h."""
    terms = (h, r - h, m - h, n - r - m + h)
    return np.asarray(-sum(gammaln(x + 1.0) for x in terms))


def at_least_one(name: str, value: ArrayLike) -> Ints:
    """`value` as integers of at least 1.

    Raises:
        InputError: it is not; the message calls it `name`.
    """
    ranks = np.asarray(value)
    if ranks.dtype.kind not in "iu" or (ranks < 1).any():
        raise InputError(f"{name} must be whole numbers of at least 1; got {value!r}")
    return ranks.astype(np.int64)


def descending(scores: NDArray[Any]) -> tuple[NDArray[Any], Ints]:
    """Stable descending sort of every row; the smaller index comes first among equals.

    Args:
        scores: [B, U] float32, sorted together with their places as one integer each, or float64; U below 2**32.

    Returns:
        Sort keys [B, U] in their new order, equal exactly where scores are, and that order [B, U].

    Raises:
        InputError: NaN scores.
    """
    if np.isnan(scores).any():
        raise InputError("scores hold NaN, which has no rank; check the embeddings and codebooks")
    if scores.dtype != np.float32:
        order = np.argsort(-scores, axis=1, kind="stable")
        return _in_order(scores, order), order
    bits = (scores + np.float32(0)).view(np.uint32)  # the sum makes -0.0 and 0.0 one value
    # Positive floats order like their bits, negative ones backwards: all but the sign of the positive ones
    # is flipped, so that the largest score has the smallest key.
    bits ^= ~(bits.view(np.int32) >> 31).view(np.uint32) & np.uint32(0x7FFFFFFF)
    # Key above, place below: NumPy sorts such integers several times as fast as it finds an order.
    packed = bits.astype(np.uint64)
    packed <<= _PLACE
    packed |= np.arange(scores.shape[1], dtype=np.uint64)
    packed.sort(axis=1)
    order = (packed & np.uint64(2**32 - 1)).view(np.int64)
    packed >>= _PLACE
    return packed, order


def _in_order(values: NDArray[Any], order: Ints) -> NDArray[Any]:
    """Each row of `values` in the order of its row of `order`, as `take_along_axis` in a third of the time."""
    rows = np.arange(len(order))[:, None] * values.shape[1]
    return np.asarray(values.take(order + rows))


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
