"""From scores to rankings as groups of tied items, and their exact metrics.

A ranking with ties is a list of groups; within a group every order is as good as any other. A metric is then
an expectation over those orders (McSherry and Najork, ECIR 2008) or its extreme. All of them have closed forms
in four numbers per group: n items and r relevant ones, n0 items and r0 relevant ones before it.
Axes: B queries of a block, U entries of a ranking (an entry stands for some items of one score), N items, G groups of
all queries, P ranks asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from dpq.errors import InputError
from dpq.inputs.values import one_of, whole_numbers
from dpq.protocols.base import Denominator

Ties = Literal["expected", "index", "best", "worst"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAN_SCORES = "scores hold NaN, which has no rank; check the embeddings and codebooks"

_NO_RANK = 2**62
_PLACE = np.uint64(32)  # bits that the place of a score takes in a packed sort key


class Arrays:
    """What the closed forms take from an array library beside arithmetic and indices, here NumPy.

    `dpq.ranking.on_device.Tensors` is the same of PyTorch. Axes: S values of all segments, one segment after the other.
    """

    arange: Any = staticmethod(np.arange)
    array: Any = staticmethod(np.asarray)
    at_least: Any = staticmethod(np.maximum)  # of an array and a number
    clip: Any = staticmethod(np.clip)
    exp: Any = staticmethod(np.exp)
    flatnonzero: Any = staticmethod(np.flatnonzero)
    minimum: Any = staticmethod(np.minimum)
    repeat: Any = staticmethod(np.repeat)
    roll: Any = staticmethod(np.roll)
    searchsorted: Any = staticmethod(np.searchsorted)
    where: Any = staticmethod(np.where)
    row_sums: Any = staticmethod(np.bincount)  # of rows [S] ascending, values [S] and number of rows B, [B]

    def real(self, numbers: Any) -> Any:
        """Whole numbers as float64, which holds them exactly."""
        return numbers.astype(np.float64)

    def reduce(self, how: Literal["sum", "min", "max"], values: Any, lengths: Any) -> Any:
        """Sum, least or largest value of every segment, of values [S] and lengths [B] of at least 1, [B]."""
        function = {"sum": np.add, "min": np.minimum, "max": np.maximum}[how]
        return function.reduceat(values, np.cumsum(lengths) - lengths)

    def harmonic(self, sizes: Any) -> Any:
        """Entry n is 1 + 1/2 + ... + 1/n, up to the largest of `sizes` at least."""
        return harmonic_numbers(int(sizes.max()))

    def log_factorial(self, numbers: Any) -> Any:
        """Of whole numbers, none above the items of the largest ranking."""
        return gammaln(numbers + 1.0)


NUMPY = Arrays()


@dataclass(frozen=True)
class RankedGroups:
    """Groups of tied items of a block of queries, best first, those of all queries in one flat list.

    Neighbouring groups may be merged into one if they hold no relevant items, as no metric tells them apart, or if
    no metric reads their ranks. What is computed of them is in arrays of the same library, and on the same device.

    Attributes:
        query: [G] row of the block that a group belongs to, ascending; every row has a group.
        items: [G] items in the group (n), at least 1.
        relevant: [G] relevant items in the group (r).
        items_before: [G] items of the same query in better groups (n0).
        relevant_before: [G] relevant items of the same query in better groups (r0).
        first: [B] each query's first group.
        arrays: the library of these arrays.
    """

    query: Ints
    items: Ints
    relevant: Ints
    items_before: Ints
    relevant_before: Ints
    first: Ints
    arrays: Arrays = NUMPY

    @cached_property
    def total_items(self) -> Ints:
        """Ranked items of each query, [B]."""
        return self.items_before[self._last] + self.items[self._last]

    @cached_property
    def total_relevant(self) -> Ints:
        """Relevant items of each query, [B]."""
        return self.relevant_before[self._last] + self.relevant[self._last]

    @cached_property
    def _last(self) -> Ints:
        """Each query's last group, [B]."""
        last: Ints = self.arrays.roll(self.first, -1) - 1  # -1 is the last of all
        return last

    def hits(self, ranks: ArrayLike, ties: Ties = "expected") -> Floats:
        """Relevant items among the first k ranks.

        Args:
            ranks: [P] ranks k, at least 1; those beyond the ranking stand for its end.
            ties: the expected number over tie orders, or that of the best or worst order for each k; "index" where
                the ranking has no ties.

        Returns:
            [B, P].

        Raises:
            InputError: a rank below 1.
        """
        k = self._ranks(ranks)
        group = self._groups_at(k)
        items, relevant, slots = self.items[group], self.relevant[group], k - self.items_before[group]
        real = self.arrays.real
        if ties == "best":
            inside = real(self.arrays.minimum(slots, relevant))
        elif ties == "worst":
            inside = real(self.arrays.at_least(slots - (items - relevant), 0))
        else:
            inside = real(slots * relevant) / items  # in this order all slots hold exactly all hits
        hits: Floats = self.relevant_before[group] + inside
        return hits

    def precision(self, ranks: ArrayLike, ties: Ties = "expected") -> Floats:
        """Share of relevant items among the first k ranks, [B, P]; arguments and errors as for `hits`."""
        return self.hits(ranks, ties) / self._ranks(ranks)

    def average_precision(
        self, top_r: int | None = None, denominator: Denominator = "hits", ties: Ties = "expected"
    ) -> Floats:
        """Average precision over the first `top_r` ranks.

        Where the cut falls inside a group, the result is conditioned on h, how many of the group's relevant
        items make the cut: h is hypergeometric, and given h their places among the slots are equally likely.

        Args:
            top_r: ranks R that count; None or more than there are means all.
            denominator: what the sum of precisions is divided by: relevant items inside the first R ("hits"),
                all relevant items ("total"), or the smaller of R and all relevant items ("capped").
            ties: the expectation over tie orders, or the best or worst order; "index" where the ranking has no ties.

        Returns:
            [B]; 0 where nothing relevant is among the first R.

        Raises:
            InputError: `top_r` below 1, or an unknown denominator.
        """
        one_of("denominator", denominator, get_args(Denominator))
        return self.average_precisions(top_r, ties)[denominator]

    def average_precisions(self, top_r: int | None = None, ties: Ties = "expected") -> dict[Denominator, Floats]:
        """`average_precision` by each denominator; arguments and errors as there.

        Axis S: for each query, every possible number h of hits in the group that the cut falls into.
        """
        arrays, cut = self.arrays, self.total_items
        if top_r is not None:
            cut = self._ranks([top_r], "top_r")[:, 0]
        group = self._groups_at(cut[:, None])[:, 0]
        whole = arrays.flatnonzero((self.relevant > 0) & (arrays.arange(len(self.query)) < group[self.query]))
        numbers = (each[whole] for each in (self.items_before, self.relevant_before, self.items, self.relevant))
        before = arrays.row_sums(self.query[whole], self._precision_sum(ties, *numbers), len(cut))  # [B]
        slots = cut - self.items_before[group]
        least = arrays.at_least(slots - (self.items - self.relevant)[group], 0)
        choices = arrays.minimum(slots, self.relevant[group]) - least + 1
        query = arrays.repeat(arrays.arange(len(cut)), choices)  # [S]
        h = arrays.arange(len(query)) - (choices.cumsum(0) - choices)[query] + least[query]
        group, m = group[query], slots[query]
        n, r, r0 = self.items[group], self.relevant[group], self.relevant_before[group]
        summed = before[query] + self._precision_sum(ties, self.items_before[group], r0, m, h)
        # Logarithm of the tie orders with h hits among m of n places, less what all h share.
        ways = -sum(arrays.log_factorial(x) for x in (h, r - h, m - h, n - r - m + h))
        ways = arrays.exp(ways - arrays.reduce("max", ways, choices)[query])

        def over(divisor: Any) -> Any:
            value = summed / arrays.at_least(divisor, 1)  # where that is 0, so is the sum
            least, most = (arrays.reduce(how, value, choices) for how in ("min", "max"))
            if ties in ("best", "worst"):
                return most if ties == "best" else least
            mean = arrays.reduce("sum", ways * value, choices) / arrays.reduce("sum", ways, choices)
            return arrays.clip(mean, least, most)

        total = self.total_relevant
        return {"hits": over(r0 + h), "total": over(total[query]), "capped": over(arrays.minimum(cut, total)[query])}

    def _ranks(self, ranks: ArrayLike, name: str = "ranks") -> Ints:
        """Numbers of ranks ([P]), those beyond a ranking as its end, [B, P]; errors as for `at_least_one`."""
        least: Ints = self.arrays.minimum(self.arrays.array(at_least_one(name, ranks)), self.total_items[:, None])
        return least

    def _groups_at(self, ranks: Ints) -> Ints:
        """The group that holds each rank ([B, P], 1 to N), [B, P]."""
        ends = self.items.cumsum(0)  # over all queries of the block, so one search serves them all
        group: Ints = self.arrays.searchsorted(ends, (ends - self.items)[self.first][:, None] + ranks)
        return group

    def _precision_sum(self, ties: Ties, n0: Ints, r0: Ints, m: Ints, h: Ints) -> Any:
        """Sum of the precisions at the h relevant of m tied items that follow n0 items, r0 of them relevant.

        Expected (McSherry and Najork 2008): place j is relevant with probability h/m, and then on average
        (j-1)(h-1)/(m-1) of the places before it are. Sums over j are differences of harmonic numbers. The best
        order puts the h relevant items first, the worst puts them last. Rounding leaves 0 <= worst <= expected <= best
        <= h, and where no item is wrong exactly h; adding and dividing keep this order, so a share is never above 1.
        """
        arrays, table = self.arrays, self.arrays.harmonic(self.total_items)
        inverses = table[n0 + m] - table[n0]  # sum of 1 / (n0 + j)
        hits = arrays.real(h)
        mates = (hits - 1) / arrays.at_least(m - 1, 1)
        expected = (hits / m) * ((r0 + 1) * inverses + mates * (m - (n0 + 1) * inverses))
        expected = arrays.where((r0 == n0) & (h == m), hits, arrays.clip(expected, 0, hits))
        if ties == "best":
            return arrays.clip(h - (n0 - r0) * (table[n0 + h] - table[n0]), expected, hits)
        if ties == "worst":
            return arrays.clip(h - (n0 + m - h - r0) * (table[n0 + m] - table[n0 + m - h]), 0, expected)
        return expected


@lru_cache(maxsize=4)
def harmonic_numbers(size: int) -> Floats:
    """Entry n is 1 + 1/2 + ... + 1/n, up to n = `size`; kept, as all blocks of a database need the same."""
    return np.append(0.0, np.cumsum(1 / np.arange(1, size + 1)))


def at_least_one(name: str, values: ArrayLike) -> Ints:
    """Numbers of ranks, [P]; those that no ranking has are some large number.

    Raises:
        InputError: they are no whole numbers of at least 1; the message calls them `name`.
    """
    if isinstance(values, np.ndarray) and values.dtype == np.int64 and values.min(initial=1) >= 1:
        return values  # ours, and asked for again and again
    return np.array([min(number, _NO_RANK) for number in whole_numbers(name, values)], dtype=np.int64)


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
        raise InputError(NAN_SCORES)
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


class Ranking:
    """Entries of rankings, best first, and which of them are tied; an entry stands for items of one score.

    Entries of all queries stand in one flat list. Axis T: groups of tied entries.

    Args:
        keys: [B, U] that are equal exactly where scores are; None where no entry is tied with another.
        relevant: [B, U] relevant items of an entry, bool or integer.
        counts: [B, U] items of an entry, 0 allowed; None means one each.
    """

    def __init__(self, keys: NDArray[Any] | None, relevant: NDArray[Any], counts: Ints | None = None) -> None:
        self.relevant, self.length = relevant, relevant.shape[1]  # entries of a query
        # Items, and relevant ones, before an entry in the flat list.
        self.items = np.arange(relevant.size + 1) if counts is None else np.append(0, np.cumsum(counts))
        self.hits = np.zeros(relevant.size + 1, dtype=np.int64)
        np.cumsum(relevant, out=self.hits[1:])
        self.most = np.diff(self.items[:: self.length]).max()  # items of a ranking
        begins = np.ones(relevant.size + 1, dtype=bool)
        if keys is not None:
            np.not_equal(keys[:, 1:], keys[:, :-1], out=begins[:-1].reshape(keys.shape)[:, 1:])
        self.edges = np.flatnonzero(begins)  # first entry of each group, and the end, [T + 1]

    def groups(self, top_r: int, ranks: Sequence[int] | Ints = ()) -> RankedGroups:
        """The tie groups, for metrics of the first R ranks, and hits at other ranks.

        What lies between two groups with relevant items is merged. Groups beyond the one with rank R stand alone only
        where they hold one of `ranks`.

        Args:
            top_r: R.
            ranks: [P] that `hits` and `precision` will be asked for; those beyond the ranking stand for its end.
        """
        groups = self.groups_with_hits(top_r)
        if top_r < self.most:
            bounds = self.items[:: self.length]
            ends = np.minimum(bounds[:-1, None] + [top_r, *ranks], bounds[1:, None])
            groups = np.union1d(groups, np.searchsorted(self.items[self.edges], ends) - 1)
        edges = np.stack([self.edges[groups], self.edges[groups + 1]], axis=1).ravel()
        of_query = np.arange(0, len(self.items), self.length)
        edges = np.insert(edges, np.searchsorted(edges, of_query), of_query)
        items = np.diff(self.items[edges])
        held = items > 0
        edges, items, relevant = edges[:-1][held], items[held], np.diff(self.hits[edges])[held]
        query = edges // self.length
        before, hits_before = self.before(edges)
        starts = np.searchsorted(query, np.arange(len(self.relevant)))
        return RankedGroups(query, items, relevant, before, hits_before, starts)

    def before(self, entries: Ints) -> tuple[Ints, Ints]:
        """Items, and relevant ones, before each entry in the ranking of its query."""
        start = entries - entries % self.length
        return self.items[entries] - self.items[start], self.hits[entries] - self.hits[start]

    def groups_with_hits(self, top_r: int) -> Ints:
        """The groups with relevant items, up to the one that holds rank R in each ranking."""
        hits = self.hits[self.edges]
        groups = np.flatnonzero(hits[1:] > hits[:-1])
        return groups if top_r >= self.most else groups[self.before(self.edges[groups])[0] < top_r]


def rank_items(scores: NDArray[Any], relevant: NDArray[np.bool_], ties: Ties) -> RankedGroups:
    """Rank single items by score.

    Args:
        scores: [B, N] float, larger is better.
        relevant: [B, N] bool.
        ties: "index" puts the smaller index first among equals; the others keep the ties as groups.

    Raises:
        InputError: NaN scores.
    """
    keys, order = descending(scores)
    return Ranking(None if ties == "index" else keys, _in_order(relevant, order)).groups(scores.shape[1])
