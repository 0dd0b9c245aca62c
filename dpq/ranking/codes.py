"""A database ranked by its codes: tie groups, and the average precision of the order that an argsort leaves.

Nothing is sorted or visited image by image but the relevant ones. An entry is a code in the ranking of a query;
entries of all queries stand in one flat list, best first. Axes: B queries with the same labels, U distinct codes, N
database, R relevant images, T groups of several codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.codes.scores import DistinctCodes
from dpq.ranking.ties import Floats, Ints, RankedGroups, descending


@dataclass(frozen=True)
class RelevantImages:
    """The images that are relevant to some queries, code by code, and of one code in database order.

    Attributes:
        relevant: [N] bool.
        of_code: [U] relevant images of each code.
        start: [U] where those of a code begin in `place` and `hit`.
        place: [R] place among all images of the code, from 1.
        hit: [R] place among the relevant images of the code, from 1.
    """

    relevant: NDArray[np.bool_]
    of_code: Ints
    start: Ints
    place: Ints
    hit: Ints

    @classmethod
    def of(cls, relevant: NDArray[np.bool_], distinct: DistinctCodes) -> RelevantImages:
        """Those among the images of `distinct` that are `relevant` ([N])."""
        at = np.flatnonzero(relevant.take(distinct.by_code))
        code = distinct.inverse.take(distinct.by_code.take(at))
        of_code = np.bincount(code, minlength=len(distinct.counts))
        start = np.cumsum(of_code) - of_code
        return cls(relevant, of_code, start, at - distinct.start[code] + 1, np.arange(len(at)) - start[code] + 1)


class CodeRanking:
    """Codes ranked for a batch of queries that share their labels.

    Args:
        scores: [B, U].
        distinct: the codes.
        images: relevant to all of the queries.

    Raises:
        InputError: NaN scores.
    """

    def __init__(self, scores: NDArray[Any], distinct: DistinctCodes, images: RelevantImages) -> None:
        self.distinct, self.images = distinct, images
        self.codes, self.items = scores.shape[1], len(distinct.inverse)
        keys, order = descending(scores)
        self.counts, self.relevant = distinct.counts.take(order), images.of_code.take(order)
        self.ends = np.cumsum(self.counts, axis=1)  # images of a ranking up to an entry
        self.hits = np.cumsum(self.relevant, axis=1)
        self.order = order.ravel()
        tied = np.zeros(keys.shape, dtype=bool)
        np.equal(keys[:, 1:], keys[:, :-1], out=tied[:, 1:])
        at = np.flatnonzero(tied)
        # First and last entries of the groups of several codes, [T].
        self.first, self.last = at[np.diff(at, prepend=-2) != 1] - 1, at[np.diff(at, append=-2) != 1]

    def groups(self, top_r: int, ranks: Sequence[int] | Ints) -> RankedGroups:
        """The tie groups, for metrics of the first R ranks, and hits at other ranks.

        Groups beyond the one with rank R stand alone only where they hold one of `ranks`; what lies between is merged.

        Args:
            top_r: R.
            ranks: [P] that `hits` and `precision` will be asked for; those beyond the ranking stand for its end.
        """
        entries = self._relevant_entries(top_r)
        if top_r < self.items:
            at = [np.searchsorted(row, np.minimum([top_r, *ranks], self.items)) for row in self.ends]
            entries = np.union1d(entries, (np.array(at) + np.arange(len(at))[:, None] * self.codes).ravel())
        first, last = self._group_of(entries)
        alone = np.diff(first, prepend=-1) != 0
        return self._between(first[alone], last[alone])

    def average_in_database_order(self, top_r: int) -> Floats:
        """Average precision over the first R ranks, divided by the hits inside, where tied images keep their order.

        Args:
            top_r: R.

        Returns:
            [B]; 0 without a hit.
        """
        several = self._alone(top_r), self._interleaved(top_r)
        row, rank, hit = (np.concatenate(parts) for parts in zip(*several, strict=True))
        counted = rank <= top_r
        row, rank, hit = row[counted], rank[counted], hit[counted]
        sums = np.bincount(row, hit / rank, len(self.ends))
        return np.asarray(sums / np.maximum(1, np.bincount(row, minlength=len(self.ends))))

    def _relevant_entries(self, top_r: int) -> Ints:
        """Entries with relevant images, up to the one that holds rank R in each ranking."""
        entries = np.flatnonzero(self.relevant)
        if top_r < self.items:
            upto = np.array([np.searchsorted(row, top_r) for row in self.ends])
            row, column = np.divmod(entries, self.codes)
            entries = entries[column <= upto[row]]
        return entries

    def _group_of(self, entries: Ints) -> tuple[Ints, Ints]:
        """First and last entry of the group that each entry is in."""
        if not len(self.first):
            return entries, entries
        group = np.maximum(np.searchsorted(self.first, entries, side="right") - 1, 0)
        first, last = self.first[group], self.last[group]
        inside = (first <= entries) & (entries <= last)
        return np.where(inside, first, entries), np.where(inside, last, entries)

    def _before(self, entries: Ints) -> tuple[Ints, Ints]:
        """Images, and relevant ones, before each entry in its ranking."""
        images = self.ends.take(entries) - self.counts.take(entries)
        return images, self.hits.take(entries) - self.relevant.take(entries)

    def _between(self, first: Ints, last: Ints) -> RankedGroups:
        """Groups from their first to their last entry, and what lies between two of them as a group."""
        rows, total = np.arange(len(self.ends) + 1), int(self.images.of_code.sum())
        row = first // self.codes
        # Ends of groups, over all rankings in one line, with the ends of the rankings themselves.
        starts, hits_at_start = self._before(first)
        line = (np.stack([starts, self.ends.take(last)], axis=1) + (row * self.items)[:, None]).ravel()
        hits = (np.stack([hits_at_start, self.hits.take(last)], axis=1) + (row * total)[:, None]).ravel()
        at = np.searchsorted(line, rows * self.items)
        line, hits = np.insert(line, at, rows * self.items), np.insert(hits, at, rows * total)
        kept = np.flatnonzero(np.diff(line))
        starts, query = line[kept], line[kept] // self.items
        return RankedGroups(
            query,
            line[kept + 1] - starts,
            hits[kept + 1] - hits[kept],
            starts - query * self.items,
            hits[kept] - query * total,
            np.searchsorted(starts, rows[:-1] * self.items),
        )

    def _alone(self, top_r: int) -> tuple[Ints, Ints, Ints]:
        """Relevant images of codes that are tied with no other: ranking, rank, and hits up to there."""
        entries = self._relevant_entries(top_r)
        first, last = self._group_of(entries)
        entries = entries[first == last]
        before, hits_before = self._before(entries)
        held = self.relevant.take(entries)
        at = _ranges(self.images.start[self.order[entries]], held)
        return (
            np.repeat(entries // self.codes, held),
            np.repeat(before, held) + self.images.place[at],
            np.repeat(hits_before, held) + self.images.hit[at],
        )

    def _interleaved(self, top_r: int) -> tuple[Ints, Ints, Ints]:
        """As `_alone`, of codes that are tied: images of all codes of a group, in database order."""
        before, hits_before = self._before(self.first)
        wanted = (self.hits.take(self.last) > hits_before) & (before < top_r)
        first, before, hits_before = self.first[wanted], before[wanted], hits_before[wanted]
        codes = self.last[wanted] - first + 1
        code = self.order[_ranges(first, codes)]
        counts = self.distinct.counts[code]
        images = self.distinct.by_code[_ranges(self.distinct.start[code], counts)]
        group = np.repeat(np.repeat(np.arange(len(first)), codes), counts)
        images = images[np.lexsort((images, group))]  # groups stay where they are
        at = np.flatnonzero(self.images.relevant[images])
        begin = np.searchsorted(group, np.arange(len(first)))
        of_hit = group[at]
        return (
            (first // self.codes)[of_hit],
            before[of_hit] + at - begin[of_hit] + 1,
            hits_before[of_hit] + np.arange(len(at)) - np.searchsorted(at, begin)[of_hit] + 1,
        )


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """Whole numbers from each start on, as many as its length, one range after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
