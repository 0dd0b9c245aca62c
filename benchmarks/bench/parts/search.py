"""Search with our codes, by our ranking and in Faiss, beside Faiss's own quantizers at equal bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.bench.measure import side_by_side, threads
from benchmarks.bench.report import Options, Report, Row
from benchmarks.bench.synthetic import ABOUT, DIM, clustered
from dpq.codes.additive import encode, residual_kmeans
from dpq.ranking.scores import asymmetric_scores
from dpq.search.faiss import faiss_index

LEVELS, NEAREST, AT, SEED = 4, 100, (1, 10, 100), 0
BLOCK = 64  # queries scored at once; their scores stay in the cache
OURS, IN_FAISS, EXACT = "our codes, our ranking", "our codes in Faiss", "exact, floats (Faiss)"
Ids = NDArray[np.int64]
NOTES = (
    "Recall@k is the share of the k images with the largest inner product by floats that are among the first k; of "
    "equal scores, any may come first. Ratios are seconds divided by those of our ranking with as many threads.",
    "The same codes give the same images in our ranking and in Faiss, up to ties and the last digits of sums. Faiss "
    "reads additive codes bit by bit, image after image, and product codes with a loop made for whole bytes; our "
    "ranking sums whole rows of a table for many queries at once, then keeps every score until the largest are chosen.",
    "Product quantization keeps one of its codewords in each quarter of the dimensions, and a rotation (OPQ) decides "
    "what a quarter is; codewords of residuals span all dimensions. Faiss's residual quantizer takes a beam of 5.",
)


def measure(options: Options) -> Report:
    """Queries per second and recall of each way to search."""
    size = options.size(256, 16)
    train = clustered(options.size(5000, 300), "train")
    database = clustered(options.size(54_000, 2000), "database")
    queries = clustered(options.size(1000, 20), "queries")
    with threads(options.threads):
        codebooks = residual_kmeans(train, LEVELS, size, SEED)
        codes = encode(database, codebooks)
        indices = _indices(codes, codebooks, train, database)
        searches: dict[str, Callable[[], Ids]] = {OURS: partial(our_ranking, queries, codes, codebooks, NEAREST)}
        searches |= {name: partial(_search, index, queries) for name, index in indices.items()}
        found = {name: search() for name, search in searches.items()}
    exact = found[EXACT]
    rows: list[Row] = [
        {
            "search": name,
            "bytes an image": indices[IN_FAISS if name == OURS else name].sa_code_size(),
            "threads": count,
            "queries/s": f"{len(queries) / seconds:.0f}",
            "ratio": str(ratio),
            **{f"recall@{k}": f"{overlap(found[name][:, :k], exact[:, :k]):.3f}" for k in AT},
        }
        for name, count, seconds, ratio in side_by_side(searches, options.threads, options.size(3, 1))
    ]
    alike = overlap(found[IN_FAISS], found[OURS])
    return Report(
        "search",
        f"The {NEAREST} images of largest inner product for each of {len(queries):,} queries among {len(database):,}, "
        f"on the CPU, beside Faiss {faiss.__version__}; quantizers are fitted to {len(train):,} other embeddings, ours "
        f"by residual k-means, {LEVELS} levels of {size} codewords. {ABOUT}",
        {"Search": rows},
        notes=(f"Of the images that our ranking finds, Faiss finds {alike:.2%} with the same codes.", *NOTES),
    )


def our_ranking(queries: Tensor, codes: Tensor, codebooks: Tensor, nearest: int) -> Ids:
    """Indices of the images with the largest scores, best first, [Q, nearest]."""
    parts = [asymmetric_scores(part, codes, codebooks).topk(nearest).indices for part in torch.split(queries, BLOCK)]
    return torch.cat(parts).numpy()


def overlap(found: Ids, wanted: Ids) -> float:
    """Share of the wanted ids of each row, [Q, k], that are found in the same row."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(wanted, found, strict=True)]))


def _indices(codes: Tensor, codebooks: Tensor, train: Tensor, database: Tensor) -> dict[str, Any]:
    """Faiss's indices: of our codes, of floats, and its own of as many bits per image."""
    bits, inner = codebooks.shape[1].bit_length() - 1, faiss.METRIC_INNER_PRODUCT
    plain, rotated = (faiss.IndexPQ(DIM, LEVELS, bits, inner) for _ in range(2))
    rotation = faiss.OPQMatrix(DIM, LEVELS)
    rotation.pq = faiss.ProductQuantizer(DIM, LEVELS, bits)  # as many codewords as the index
    residual = faiss.IndexResidualQuantizer(DIM, LEVELS, bits, inner, faiss.AdditiveQuantizer.ST_LUT_nonorm)
    for clustering in (plain.pq.cp, rotated.pq.cp, rotation.pq.cp, residual.rq.cp):
        clustering.min_points_per_centroid = 1
    theirs = {
        EXACT: faiss.IndexFlatIP(DIM),
        "Faiss PQ": plain,
        "Faiss OPQ": faiss.IndexPreTransform(rotation, rotated),
        "Faiss residual quantizer": residual,
    }
    for index in theirs.values():
        index.train(train.numpy())
        index.add(database.numpy())
    return {IN_FAISS: faiss_index(codes, codebooks), **theirs}


def _search(index: Any, queries: Tensor) -> Ids:
    return np.asarray(index.search(queries.numpy(), NEAREST)[1])
