"""Ranking a database by its codes, or by embeddings, in blocks of queries.

A database of N images holds at most as many different scores as distinct codes, so codes are scored and sorted
instead of images, and ties stay what they are: groups. Axes: Q queries, B queries of a block, N database,
U distinct codes, M levels, K codewords, D dimensions, L classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dpq.errors import InputError
from dpq.metrics import average_curve, geometric_ranks
from dpq.scores import (
    DistinctCodes,
    Score,
    asymmetric_scores,
    check_codes,
    checked,
    lookup_tables,
    norm_offsets,
    symmetric_scores,
    table_scores,
)
from dpq.sorting import descending, item_order, rank_items, strict_groups, tie_groups
from dpq.tie_groups import Floats, Ints, RankedGroups, at_least_one

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
) -> RankingResult:
    """Rank a coded database for every query and measure the rankings.

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
        block: queries ranked at once; decides memory (about 60 bytes times `block` times N), not results.
        progress: show a bar while stderr is a terminal.

    Raises:
        InputError: shapes do not fit, nothing to rank, NaN scores, or a number out of range.
    """
    check_codes(queries, codes, codebooks)
    _check_labels(query_labels, database_labels, len(queries), len(codes), block)
    at_least_one("ks", ks)
    at_least_one("cut", 1 if cut is None else cut)
    distinct = DistinctCodes.of(codes)
    offsets = norm_offsets(distinct.codes, codebooks, score)
    tables = lookup_tables(queries, codebooks)  # all at once: a product's last digits depend on its shape
    ranks, columns = geometric_ranks(len(codes)), distinct.codes.long()
    parts: list[tuple[Floats, Floats, Floats, Ints]] = []
    for rows, relevant, label_row in _relevance_blocks(query_labels, database_labels, block, progress):
        scores = table_scores(tables[rows], columns, offsets).cpu().numpy()
        keys, order = descending(scores)
        relevant_of_code = distinct.relevant_counts(relevant)
        groups = tie_groups(keys, distinct.counts[order], relevant_of_code[label_row[:, None], order])
        item = item_order(keys, order, distinct.inverse)
        by_index = strict_groups(relevant[label_row[:, None], item])
        averages = _average_precisions(groups, by_index, cut)
        parts.append((averages, groups.precision(ks), groups.hits(ranks), groups.total_relevant))
    means, precisions = (np.concatenate([part[i] for part in parts]).mean(axis=0).tolist() for i in (0, 1))
    totals = np.concatenate([part[3] for part in parts])
    curve = average_curve(np.concatenate([part[2] for part in parts]), totals, ranks)
    return RankingResult(
        map=means[0],
        map_total=means[1],
        map_capped=means[2],
        map_bounds=(means[3], means[4]),
        map_ties_index=means[5],
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
        block: queries ranked at once.
        progress: show a bar while stderr is a terminal.

    Raises:
        InputError: as for `evaluate_codes`.
    """
    if queries.ndim != 2 or database.ndim != 2 or queries.shape[1] != database.shape[1]:
        raise InputError(f"expected embeddings [Q, D] and [N, D]; got {list(queries.shape)} and {list(database.shape)}")
    _check_labels(query_labels, database_labels, len(queries), len(database), block)
    at_least_one("cut", 1 if cut is None else cut)
    queries, database = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (queries, database))
    norms = database.square().sum(dim=1) if checked(score) == "l2" else None
    averages = []
    for rows, relevant, label_row in _relevance_blocks(query_labels, database_labels, block, progress):
        products = queries[rows] @ database.T
        scores = (products if norms is None else 2 * products - norms).cpu().numpy()
        averages.append(rank_items(scores, relevant[label_row], "expected").average_precision(cut))
    return float(np.concatenate(averages).mean())


def _average_precisions(groups: RankedGroups, by_index: RankedGroups, cut: int | None) -> Floats:
    """Average precisions in the order of `RankingResult`, [B, 6]."""
    return np.stack(
        [
            groups.average_precision(cut),
            groups.average_precision(cut, "total"),
            groups.average_precision(cut, "capped"),
            groups.average_precision(cut, ties="worst"),
            groups.average_precision(cut, ties="best"),
            by_index.average_precision(cut),
        ],
        axis=1,
    )


def _relevance_blocks(
    query_labels: Tensor, database_labels: Tensor, block: int, progress: bool
) -> Iterator[tuple[slice, NDArray[np.bool_], Ints]]:
    """Blocks of queries: their rows, the relevance [u, N] of each different label row, and each query's row of it."""
    of_class = database_labels.cpu().float().T
    starts = range(0, len(query_labels), block)
    for start in tqdm(starts, desc="rank", leave=False, disable=None if progress else True):
        rows = slice(start, start + block)
        different, label_row = np.unique(query_labels[rows].cpu().numpy(), axis=0, return_inverse=True)
        yield rows, (torch.from_numpy(different).float() @ of_class > 0).numpy(), label_row.reshape(-1)


def _check_labels(query_labels: Tensor, database_labels: Tensor, queries: int, items: int, block: int) -> None:
    if not queries or not items:
        raise InputError(f"nothing to rank: {queries} queries and {items} database images")
    shapes = list(query_labels.shape), list(database_labels.shape)
    if shapes != ([queries, shapes[0][-1]], [items, shapes[0][-1]]):
        raise InputError(f"labels must be [{queries}, L] and [{items}, L]; got {shapes[0]} and {shapes[1]}")
    if block < 1:
        raise InputError(f"a block must hold at least one query; got {block}")
