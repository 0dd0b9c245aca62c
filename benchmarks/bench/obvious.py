"""The obvious evaluation, as released programs of the field have it: what the library's own is measured against.

Every score in float64, a full argsort, and labels of the ranked images compared row by row.
Axes: Q queries, N database, D dimensions, L classes, P ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.bench.synthetic import CodedSet
from dpq.additive import decode
from dpq.tie_groups import Floats


@dataclass(frozen=True)
class ObviousResult:
    """Means over queries; tied images keep their order in the database.

    Attributes:
        map: mean average precision over the whole ranking.
        precision: [P] at the asked ranks.
        recall: [P].
    """

    map: float
    precision: Floats
    recall: Floats


def evaluate_obviously(data: CodedSet, levels: int, ranks: Sequence[int]) -> ObviousResult:
    """Rank the whole database for every query by codes of `levels` levels, and measure at `ranks` [P]."""
    database = decode(data.codes[:, :levels], data.codebooks[:levels]).double().numpy()
    scores = data.queries.double().numpy() @ database.T  # [Q, N]
    order = np.argsort(-scores, axis=1, kind="stable")
    labels, at = data.database_labels.numpy().astype(np.int64), np.asarray(ranks) - 1
    averages, precisions, recalls = [], [], []
    for ranking, label in zip(order, data.query_labels.numpy().astype(np.int64), strict=True):
        wanted = np.where(label == 0, -1, label)
        relevant = np.sum(labels[ranking] == wanted, axis=1) > 0
        hits = np.cumsum(relevant)
        precision = hits / np.arange(1, len(hits) + 1)
        found = max(1, hits[-1])
        averages.append(np.sum(precision * relevant) / found)
        precisions.append(precision[at])
        recalls.append(hits[at] / found)
    return ObviousResult(float(np.mean(averages)), np.mean(precisions, axis=0), np.mean(recalls, axis=0))
