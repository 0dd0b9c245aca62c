"""A database ranked by its codes: tie groups, and the average precision of the order that an argsort leaves.

Nothing is sorted or visited image by image but the relevant ones. An entry is a code in the ranking of a query;
entries of all queries stand in one flat list, best first. Axes: B queries with the same labels, U distinct codes, N
database, R relevant images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.ranking.scores import DistinctCodes
from dpq.ranking.ties import Floats, Ints, Ranking, descending


@dataclass(frozen=True)
class RelevantImages:
    """The images that are relevant to some queries, code by code, and of one code in database order."""

    relevant: NDArray[np.bool_]  # [N]
    of_code: Ints  # [U] relevant images of each code
    start: Ints  # [U] where those of a code begin in `place` and `hit`
    place: Ints  # [R] place among all images of the code, from 1
    hit: Ints  # [R] place among the relevant images of the code, from 1

    @classmethod
    def of(cls, relevant: NDArray[np.bool_], distinct: DistinctCodes) -> RelevantImages:
        """Those among the images of `distinct` that are `relevant` ([N])."""
        at = np.flatnonzero(relevant.take(distinct.by_code))
        code = distinct.inverse.take(distinct.by_code.take(at))
        of_code = np.bincount(code, minlength=len(distinct.counts))
        start = np.cumsum(of_code) - of_code
        return cls(relevant, of_code, start, at - distinct.start[code] + 1, np.arange(len(at)) - start[code] + 1)


class CodeRanking(Ranking):
    """Codes ranked for a batch of queries that share their labels.

    Args:
        scores: [B, U].
        distinct: the codes.
        images: relevant to all of the queries.

    Raises:
        InputError: NaN scores.
    """

    def __init__(self, scores: NDArray[Any], distinct: DistinctCodes, images: RelevantImages) -> None:
        keys, order = descending(scores)
        super().__init__(keys, images.of_code.take(order), distinct.counts.take(order))
        self.distinct, self.images, self.order = distinct, images, order.ravel()

    def average_in_database_order(self, top_r: int) -> Floats:
        """Average precision over the first R ranks, divided by the hits inside, where tied images keep their order.

        Args:
            top_r: R.

        Returns:
            [B]; 0 without a hit.
        """
        groups = self.groups_with_hits(top_r)
        first, codes = self.edges[groups], np.diff(self.edges)[groups]
        several = self._alone(first[codes == 1]), self._interleaved(first[codes > 1], codes[codes > 1])
        row, rank, hit = (np.concatenate(parts) for parts in zip(*several, strict=True))
        counted = rank <= top_r
        row, rank, hit = row[counted], rank[counted], hit[counted]
        sums = np.bincount(row, hit / rank, len(self.relevant))
        return np.asarray(sums / np.maximum(1, np.bincount(row, minlength=len(self.relevant))))

    def _alone(self, entries: Ints) -> tuple[Ints, Ints, Ints]:
        """Relevant images of codes that are tied with no other: ranking, rank, and hits up to there."""
        before, hits_before = self.before(entries)
        held = self.relevant.take(entries)
        at = _ranges(self.images.start[self.order[entries]], held)
        return (
            np.repeat(entries // self.length, held),
            np.repeat(before, held) + self.images.place[at],
            np.repeat(hits_before, held) + self.images.hit[at],
        )

    def _interleaved(self, first: Ints, codes: Ints) -> tuple[Ints, Ints, Ints]:
        """As `_alone`, of groups of several `codes`: images of all codes of a group, in database order."""
        before, hits_before = self.before(first)
        code = self.order[_ranges(first, codes)]
        counts = self.distinct.counts[code]
        images = self.distinct.by_code[_ranges(self.distinct.start[code], counts)]
        group = np.repeat(np.repeat(np.arange(len(first)), codes), counts)
        images = images[np.lexsort((images, group))]  # groups stay where they are
        at = np.flatnonzero(self.images.relevant[images])
        begin = np.searchsorted(group, np.arange(len(first)))
        of_hit = group[at]
        return (
            (first // self.length)[of_hit],
            before[of_hit] + at - begin[of_hit] + 1,
            hits_before[of_hit] + np.arange(len(at)) - np.searchsorted(at, begin)[of_hit] + 1,
        )


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """Whole numbers from each start on, as many as its length, one range after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
