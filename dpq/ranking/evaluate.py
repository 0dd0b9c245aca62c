"""Ranking a database by its codes, or by embeddings, in blocks of queries.

A database of N images holds at most as many different scores as distinct codes, so codes are scored and sorted
instead of images, and ties stay what they are: groups. Axes: Q queries, B queries of a block, N database,
U distinct codes, M levels, K codewords, D dimensions, L classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dpq.codes.additive import check_finite
from dpq.errors import InputError
from dpq.inputs.values import Numbers, as_array, as_tensor, whole_number, whole_numbers
from dpq.learning.settings import Score
from dpq.ranking.codes import CodeRanking, RelevantImages
from dpq.ranking.curves import average_curve, geometric_ranks
from dpq.ranking.on_device import ItemRanking, code_scores, embedding_scores, ranked
from dpq.ranking.relevance import checked_relevance
from dpq.ranking.scores import DistinctCodes, fitting, lookup_tables, norm_offsets, prepared
from dpq.ranking.ties import Floats, Ints, rank_items

T = TypeVar("T")
Item = TypeVar("Item")
R = TypeVar("R")

ENTRIES = 2**17  # codes that a thread ranks at once, over all queries of a batch; as many as a cache holds


@dataclass(frozen=True)
class Metrics(Generic[T]):
    """What is averaged over queries: one value per query (`Metrics[Any]`, arrays [B]), or the mean (`Metrics[float]`).

    A query without a hit counts 0. A further metric is a field here and a line in `_measure`.

    Attributes:
        map: mean average precision over the first `cut` ranks, expected over tie orders, divided by the
            relevant items inside the cut.
        map_total: the same, divided by all relevant items.
        map_capped: the same, divided by the smaller of the cut and all relevant items.
        map_bounds: `map` under the worst and the best order of ties.
        map_ties_index: `map` when tied images keep their order in the database.
        map_at: `map` at each further cut.
        precision_at: expected share of relevant images among the first k.
    """

    map: T
    map_total: T
    map_capped: T
    map_bounds: tuple[T, T]
    map_ties_index: T
    map_at: dict[int, T]
    precision_at: dict[int, T]


@dataclass(frozen=True)
class RankingResult(Metrics[float]):
    """Metrics of one code length.

    Attributes:
        pr: (recall, precision) at `geometric_ranks(N)`, over the queries that have relevant images.
        distinct_codes: number of different codes U in the database.
        queries_without_relevant: queries with no relevant image in the whole database.
        average_precisions: what `map` is the mean of, [Q] in the order of the queries.
    """

    pr: list[tuple[float, float]]
    distinct_codes: int
    queries_without_relevant: int
    average_precisions: Floats = field(compare=False, repr=False)


@torch.no_grad()
def evaluate_codes(
    queries: Numbers,
    query_labels: Numbers,
    codes: Numbers,
    database_labels: Numbers,
    codebooks: Numbers,
    cut: int | None,
    ks: Sequence[int] = (1, 10, 100, 500, 1000),
    score: Score = "inner",
    block: int = 64,
    progress: bool = False,
    *,
    further_cuts: Sequence[int] = (),
    device: torch.device | None = None,
) -> RankingResult:
    """Rank a coded database for every query and measure the rankings, in as many threads as PyTorch uses.

    An image is relevant if it shares a label with the query. For the symmetric score, pass reconstructed queries.
    On a device scores have the same bits, and so the same ties; metrics are equal within 1e-9.

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
        device: where PyTorch ranks, in float64, in blocks that its memory holds; None stands for NumPy on the CPU,
            which is faster there.

    Raises:
        InputError: shapes do not fit, nothing to rank, NaN scores, or a number out of range.
    """
    queries, codes, codebooks = fitting(as_tensor(queries, "queries"), codes, codebooks)
    relevance = checked_relevance(query_labels, database_labels, len(queries), len(codes), block)
    cut = len(codes) if cut is None else min(whole_number("cut", cut), len(codes))
    ranks = geometric_ranks(len(codes))
    at, further = (
        {number: min(number, len(codes)) for number in numbers}
        for numbers in (whole_numbers("ks", ks), whole_numbers("further_cuts", further_cuts))
    )
    distinct = DistinctCodes.of(codes)
    queries, codebooks = prepared(queries, codebooks, score)
    tables = lookup_tables(queries, codebooks).cpu().numpy()  # at once: a product's last digits depend on its shape
    offsets = norm_offsets(distinct.codes, codebooks, score)
    norms = None if offsets is None else offsets.cpu().numpy()
    at_once = min(block, max(1, ENTRIES // len(distinct.codes)))

    def measure_alike(rows: Ints) -> list[tuple[Metrics[Any], Any, Any]]:
        images = RelevantImages.of(relevance.to(rows[:1])[0], distinct)
        batches = (tables[rows[start : start + at_once]] for start in range(0, len(rows), at_once))
        rankings = (CodeRanking(distinct.scores(batch, norms), distinct, images) for batch in batches)
        return [_measure(ranking, cut, further, at, ranks) for ranking in rankings]

    parts: Iterable[tuple[Metrics[Any], Any, Any]]
    if device is None:
        groups = relevance.alike(min(block, 8 * at_once))  # short, so that Ctrl-C ends them soon
        parts, order = chain.from_iterable(in_threads(measure_alike, groups, "rank", progress)), np.concatenate(groups)
    else:
        order = np.arange(len(queries))
        scored = code_scores(tables, norms, distinct, device)
        parts = (_measure(one, cut, further, at, ranks) for one in ranked(scored, relevance, device, progress))
    metrics, hits, relevant = zip(*parts, strict=True)
    totals = _joined(relevant)
    averages = np.empty(len(queries))
    averages[order] = _joined([part.map for part in metrics])
    curve = average_curve(_joined(hits), totals, ranks)
    return RankingResult(
        **{each.name: _mean([getattr(part, each.name) for part in metrics]) for each in fields(Metrics)},
        pr=list(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True)),
        distinct_codes=len(distinct.codes),
        queries_without_relevant=int((totals == 0).sum()),
        average_precisions=averages,
    )


def _measure(
    ranking: CodeRanking | ItemRanking, cut: int, further: Mapping[int, int], at: Mapping[int, int], ranks: Ints
) -> tuple[Metrics[Any], Any, Any]:
    """Metrics of each query, hits at `ranks` ([B, P]), and relevant images in the whole database ([B]).

    Further cuts, and ranks of precision, are those that were asked for, each with the one that there is.
    """
    ks = np.array(list(at.values()), dtype=np.int64)
    groups = ranking.groups(max([cut, *further.values()]), [*ks, *ranks])
    expected = groups.average_precisions(cut)
    worst, best = (groups.average_precision(cut, ties=ties) for ties in ("worst", "best"))
    metrics = Metrics(
        map=expected["hits"],
        map_total=expected["total"],
        map_capped=expected["capped"],
        map_bounds=(worst, best),
        map_ties_index=ranking.average_in_database_order(cut),
        map_at={wanted: groups.average_precision(there) for wanted, there in further.items()},
        precision_at=dict(zip(at, groups.precision(ks).T, strict=True)),
    )
    return metrics, groups.hits(ranks), groups.total_relevant


def _mean(values: Sequence[Any]) -> Any:
    """The mean over the queries of all `values`: arrays, or tuples or dictionaries of arrays."""
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], tuple):
        return tuple(map(_mean, zip(*values, strict=True)))
    each = _joined(values)
    return float(np.cumsum(each)[-1] / len(each))  # added one by one: records were always made so, to the last digit


def _joined(values: Sequence[Any]) -> NDArray[Any]:
    """Values of all blocks, from wherever they are."""
    return np.concatenate([as_array(each, "values") for each in values])


@torch.no_grad()
def evaluate_embeddings(
    queries: Numbers,
    query_labels: Numbers,
    database: Numbers,
    database_labels: Numbers,
    cut: int | None,
    score: Score = "inner",
    block: int = 64,
    progress: bool = False,
    *,
    device: torch.device | None = None,
) -> float:
    """Mean average precision of exact search with unquantized embeddings, expected over tie orders.

    On a device scores are computed in float64 and rounded (see `embedding_scores`). Products in float32, as here, have
    other last digits, so images of nearly the same score can change places: mAP differs by less than 1e-4.

    Args:
        queries: [Q, D] float.
        query_labels: [Q, L] bool.
        database: [N, D] float.
        database_labels: [N, L] bool.
        cut: mAP is taken over the first `cut` ranks and divided by the relevant items inside; None means all N.
        score: "inner" product or negated squared "l2" distance.
        block: queries scored at once.
        progress: show a bar while stderr is a terminal.
        device: as for `evaluate_codes`.

    Raises:
        InputError: as for `evaluate_codes`.
    """
    asked, images = as_tensor(queries, "queries"), as_tensor(database, "database")
    if asked.ndim != 2 or images.ndim != 2 or asked.shape[1] != images.shape[1]:
        raise InputError(f"expected embeddings [Q, D] and [N, D]; got {list(asked.shape)} and {list(images.shape)}")
    relevance = checked_relevance(query_labels, database_labels, len(asked), len(images), block)
    cut = None if cut is None else whole_number("cut", cut)
    check_finite(asked)
    check_finite(images)
    kind = torch.promote_types(torch.promote_types(asked.dtype, images.dtype), torch.float32)
    asked, images = asked.to(kind), images.to(kind)
    asked, (images,) = prepared(asked, images[None], score)
    if device is not None:
        rankings = ranked(embedding_scores(asked, images, score, device), relevance, device, progress)
        return float(_joined([one.groups().average_precision(cut) for one in rankings]).mean())
    norms = images.square().sum(dim=1) if score == "l2" else None
    at_once = max(1, ENTRIES // len(images))

    def average(batch: tuple[Ints, NDArray[Any]]) -> Floats:
        rows, scores = batch
        return rank_items(scores, relevance.to(rows), "expected").average_precision(cut)

    averages: list[Floats] = []
    blocks = np.split(np.arange(len(asked)), range(block, len(asked), block))
    for rows in tqdm(blocks, "rank", leave=False, disable=None if progress else True):
        products = asked[rows] @ images.T
        scores = (products if norms is None else 2 * products - norms).cpu().numpy()
        batches = [(rows[at : at + at_once], scores[at : at + at_once]) for at in range(0, len(rows), at_once)]
        averages += in_threads(average, batches, "rank")
    return float(np.concatenate(averages).mean())


def in_threads(work: Callable[[Item], R], items: Sequence[Item], description: str, progress: bool = False) -> list[R]:
    """Results of `work` in the order of `items`, computed by as many threads as PyTorch uses.

    Worth it where NumPy does the work, which lets other threads run while it sorts and gathers. `work` should leave
    PyTorch alone, whose operations bring threads of their own. An exception or Ctrl-C drops the items not yet begun.

    Args:
        work: called once for every item.
        items: what it is called with.
        description: name of the progress bar.
        progress: show a bar while stderr is a terminal.
    """
    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        done = pool.map(work, items)
        return list(tqdm(done, description, len(items), leave=False, disable=None if progress else True))
    finally:
        pool.shutdown(cancel_futures=True)
