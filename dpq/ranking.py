"""Ranking a database by its codes, or by embeddings, in blocks of queries.

A database of N images holds at most as many different scores as distinct codes, so codes are scored and sorted
instead of images, and ties stay what they are: groups. Axes: Q queries, B queries of a block, N database,
U distinct codes, M levels, K codewords, D dimensions, L classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dpq.code_groups import RelevantImages
from dpq.code_ranking import Asked, Measures, measure
from dpq.errors import InputError
from dpq.metrics import average_curve
from dpq.parallel import in_threads
from dpq.relevance import Relevance, check_labels
from dpq.scores import (
    DistinctCodes,
    Score,
    asymmetric_scores,
    check_codes,
    checked,
    lookup_tables,
    norm_offsets,
    symmetric_scores,
)
from dpq.sorting import rank_items
from dpq.tie_groups import Floats, Ints, at_least_one

ENTRIES = 2**17  # codes that a thread ranks at once, over all queries of a batch; as many as a cache holds

__all__ = [
    "DistinctCodes",
    "RankingResult",
    "Score",
    "asymmetric_scores",
    "evaluate_codes",
    "evaluate_embeddings",
    "lookup_tables",
    "symmetric_scores",
]


@dataclass(frozen=True)
class RankingResult:
    """Metrics of one code length, means over all queries; a query without a hit counts 0.

    Attributes:
        map: mean average precision over the first `cut` ranks, expected over tie orders, divided by the
            relevant items inside the cut.
        map_total: the same, divided by all relevant items.
        map_capped: the same, divided by the smaller of the cut and all relevant items.
        map_bounds: `map` under the worst and the best order of ties.
        map_ties_index: `map` when tied images keep their order in the database.
        map_at: `map` at each further cut.
        precision_at: expected share of relevant images among the first k.
        pr: (recall, precision) at `geometric_ranks(N)`, over the queries that have relevant images.
        distinct_codes: number of different codes U in the database.
        queries_without_relevant: queries with no relevant image in the whole database.
    """

    map: float
    map_total: float
    map_capped: float
    map_bounds: tuple[float, float]
    map_ties_index: float
    map_at: dict[int, float]
    precision_at: dict[int, float]
    pr: list[tuple[float, float]]
    distinct_codes: int
    queries_without_relevant: int


@torch.no_grad()
def evaluate_codes(
    queries: Tensor,
    query_labels: Tensor,
    codes: Tensor,
    database_labels: Tensor,
    codebooks: Tensor,
    cut: int | None,
    ks: Sequence[int] = (1, 10, 100, 500, 1000),
    score: Score = "inner",
    block: int = 64,
    progress: bool = False,
    *,
    further_cuts: Sequence[int] = (),
) -> RankingResult:
    """Rank a coded database for every query and measure the rankings, in as many threads as PyTorch uses.

    An image is relevant if it shares a label with the query. For the symmetric score, pass reconstructed queries.

    Args:
        queries: [Q, D] float.
        query_labels: [Q, L] bool.
        codes: [N, M] uint8; `codes[:, :m]` with `codebooks[:m]` for the prefix of m levels.
        database_labels: [N, L] bool.
        codebooks: [M, K, D] float.
        cut: mAP is taken over the first `cut` ranks; None means all N.
        ks: numbers of ranks for precision; more than N stands for N.
        score: as for `asymmetric_scores`.
        block: most queries that a thread ranks at once, and fewer, down to one, where that would be more than
            `ENTRIES` codes; decides memory (about 100 bytes a code), not results.
        progress: show a bar while stderr is a terminal.
        further_cuts: more cuts to take `map` at, from the same rankings.

    Raises:
        InputError: shapes do not fit, nothing to rank, NaN scores, or a number out of range.
    """
    check_codes(queries, codes, codebooks)
    check_labels(query_labels, database_labels, len(queries), len(codes), block)
    asked = Asked.of(len(codes), cut, further_cuts, ks)
    distinct = DistinctCodes.of(codes)
    tables = lookup_tables(queries, codebooks).cpu().numpy()  # at once: a product's last digits depend on its shape
    offsets = norm_offsets(distinct.codes, codebooks, score)
    norms = None if offsets is None else offsets.cpu().numpy()
    relevance = Relevance.of(query_labels, database_labels)
    at_once = min(block, max(1, ENTRIES // len(distinct.codes)))

    def measure_alike(rows: Ints) -> list[Measures]:
        images = RelevantImages.of(relevance.to(rows[:1])[0], distinct)
        batches = (tables[rows[start : start + at_once]] for start in range(0, len(rows), at_once))
        return [measure(distinct.scores(batch, norms), distinct, images, asked) for batch in batches]

    groups = relevance.alike(min(block, 8 * at_once))  # short, so that Ctrl-C ends them soon
    parts = list(chain.from_iterable(in_threads(measure_alike, groups, "rank", progress)))
    means, precisions = (np.concatenate([part[i] for part in parts]).mean(axis=0).tolist() for i in (0, 1))
    totals = np.concatenate([part.total_relevant for part in parts])
    curve = average_curve(np.concatenate([part.hits for part in parts]), totals, asked.ranks)
    return RankingResult(
        map=means[0],
        map_total=means[1],
        map_capped=means[2],
        map_bounds=(means[3], means[4]),
        map_ties_index=means[5],
        map_at=dict(zip(further_cuts, means[6:], strict=True)),
        precision_at=dict(zip(ks, precisions, strict=True)),
        pr=list(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True)),
        distinct_codes=len(distinct.codes),
        queries_without_relevant=int((totals == 0).sum()),
    )


@torch.no_grad()
def evaluate_embeddings(
    queries: Tensor,
    query_labels: Tensor,
    database: Tensor,
    database_labels: Tensor,
    cut: int | None,
    score: Score = "inner",
    block: int = 64,
    progress: bool = False,
) -> float:
    """Mean average precision of exact search with unquantized embeddings, expected over tie orders.

    Args:
        queries: [Q, D] float.
        query_labels: [Q, L] bool.
        database: [N, D] float.
        database_labels: [N, L] bool.
        cut: mAP is taken over the first `cut` ranks and divided by the relevant items inside; None means all N.
        score: "inner" product or negated squared "l2" distance.
        block: queries scored at once.
        progress: show a bar while stderr is a terminal.

    Raises:
        InputError: as for `evaluate_codes`.
    """
    if queries.ndim != 2 or database.ndim != 2 or queries.shape[1] != database.shape[1]:
        raise InputError(f"expected embeddings [Q, D] and [N, D]; got {list(queries.shape)} and {list(database.shape)}")
    check_labels(query_labels, database_labels, len(queries), len(database), block)
    at_least_one("cut", 1 if cut is None else cut)
    queries, database = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (queries, database))
    norms = database.square().sum(dim=1) if checked(score) == "l2" else None
    relevance, at_once = Relevance.of(query_labels, database_labels), max(1, ENTRIES // len(database))
    averages: list[Floats] = []
    blocks = [np.arange(start, min(start + block, len(queries))) for start in range(0, len(queries), block)]
    for rows in tqdm(blocks, "rank", leave=False, disable=None if progress else True):
        products = queries[rows] @ database.T
        scores = (products if norms is None else 2 * products - norms).cpu().numpy()
        batches = [slice(start, start + at_once) for start in range(0, len(rows), at_once)]
        averages += in_threads(partial(_averages, scores, relevance, rows, cut), batches, "rank")
    return float(np.concatenate(averages).mean())


def _averages(scores: NDArray[Any], relevance: Relevance, queries: Ints, cut: int | None, batch: slice) -> Floats:
    """Average precision of one batch of the `queries` [B] that have `scores` [B, N]."""
    return rank_items(scores[batch], relevance.to(queries[batch]), "expected").average_precision(cut)
