"""The ranking of a coded database for some queries, and its measures.

Axes: B queries, N database, U distinct codes, C further cuts, P ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpq.code_groups import CodeRanking, RelevantImages
from dpq.metrics import geometric_ranks
from dpq.scores import DistinctCodes
from dpq.tie_groups import Floats, Ints, at_least_one


@dataclass(frozen=True)
class Asked:
    """The ranks to measure at.

    Attributes:
        cut: average precision over the first `cut` ranks, at most N.
        further_cuts: [C] more cuts for the average precision.
        ks: [P] ranks for the precision.
        ranks: ranks of the precision-recall curve.
    """

    cut: int
    further_cuts: Sequence[int]
    ks: Sequence[int]
    ranks: Ints

    @classmethod
    def of(cls, items: int, cut: int | None, further_cuts: Sequence[int], ks: Sequence[int]) -> Asked:
        """For a database of `items` images.

        Raises:
            InputError: a rank below 1.
        """
        for name, numbers in (
            ("cut", 1 if cut is None else cut),
            ("further_cuts", list(further_cuts) or 1),
            ("ks", ks),
        ):
            at_least_one(name, numbers)
        return cls(items if cut is None else min(cut, items), further_cuts, ks, geometric_ranks(items))


class Measures(NamedTuple):
    """Measures of some rankings.

    Attributes:
        averages: [B, 6 + C] average precisions at the cut: of the denominators "hits", "total" and "capped", of the
            worst, best and index order of ties; and at the further cuts.
        precisions: [B, P] at `Asked.ks`.
        hits: [B, ranks] expected, at `Asked.ranks`.
        total_relevant: [B] relevant images in the whole database.
    """

    averages: Floats
    precisions: Floats
    hits: Floats
    total_relevant: Ints


def measure(scores: NDArray[Any], distinct: DistinctCodes, images: RelevantImages, asked: Asked) -> Measures:
    """Rank the codes for queries that share their labels, and measure.

    Args:
        scores: [B, U].
        distinct: the codes.
        images: that share a label with the queries.
        asked: where to measure.

    Raises:
        InputError: NaN scores.
    """
    ranking = CodeRanking(scores, distinct, images)
    groups = ranking.groups(max([asked.cut, *asked.further_cuts]), [*asked.ks, *asked.ranks])
    expected = groups.precision_sums(asked.cut)
    averages = [
        expected.over("hits"),
        expected.over("total"),
        expected.over("capped"),
        groups.precision_sums(asked.cut, "worst").over("hits"),
        groups.precision_sums(asked.cut, "best").over("hits"),
        ranking.average_in_database_order(asked.cut),
        *(groups.average_precision(cut) for cut in asked.further_cuts),
    ]
    return Measures(
        np.stack(averages, axis=1), groups.precision(asked.ks), groups.hits(asked.ranks), groups.total_relevant
    )
