"""Search with our codes, by our ranking and in Faiss, beside Faiss's own quantizers at equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.bench.measure import side_by_side, threads
from benchmarks.bench.report import Options, Report, Row, Table
from benchmarks.bench.synthetic import ABOUT, DIM, clustered
from dpq.codes.additive import encode, residual_kmeans
from dpq.codes.scores import asymmetric_scores
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
        searches, bytes_of = _searches(train, database, queries, size)
        found = {name: search() for name, search in searches.items()}
    exact = found[EXACT]
    rows: list[Row] = [
        {
            "search": one.name,
            "bytes an image": bytes_of[one.name],
            "threads": one.threads,
            "queries/s": f"{len(queries) / one.seconds:.0f}",
            "ratio": str(one.ratio),
            **{f"recall@{k}": f"{overlap(found[one.name][:, :k], exact[:, :k]):.3f}" for k in AT},
        }
        for one in side_by_side(searches, options.threads, options.size(3, 1))
    ]
    alike = overlap(found[IN_FAISS], found[OURS])
    return Report(
        "search",
        f"The {NEAREST} images of largest inner product for each of {len(queries):,} queries among {len(database):,}, "
        f"on the CPU, beside Faiss {faiss.__version__}; quantizers are fitted to {len(train):,} other embeddings, ours "
        f"by residual k-means, {LEVELS} levels of {size} codewords. {ABOUT}",
        [Table("Search", rows)],
        notes=(f"Of the images that our ranking finds, Faiss finds {alike:.2%} with the same codes.", *NOTES),
    )


def our_ranking(queries: Tensor, codes: Tensor, codebooks: Tensor, nearest: int) -> Ids:
    """Indices of the images with the largest scores, best first, [Q, nearest]."""
    parts = [asymmetric_scores(part, codes, codebooks).topk(nearest).indices for part in torch.split(queries, BLOCK)]
    return torch.cat(parts).numpy()


def overlap(found: Ids, wanted: Ids) -> float:
    """Share of the wanted ids of each row, [Q, k], that are found in the same row."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(wanted, found, strict=True)]))


def _searches(
    train: Tensor, database: Tensor, queries: Tensor, size: int
) -> tuple[Mapping[str, Callable[[], Ids]], Mapping[str, int]]:
    """Ways to search by name, and the bytes that each keeps of an image."""
    codebooks = residual_kmeans(train, LEVELS, size, SEED)
    codes = encode(database, codebooks)
    ours = faiss_index(codes, codebooks)
    indices = {IN_FAISS: ours, EXACT: faiss.IndexFlatIP(DIM), **_their_own(size)}
    for index in list(indices.values())[1:]:
        index.train(train.numpy())
        index.add(database.numpy())
    searches: dict[str, Callable[[], Ids]] = {OURS: lambda: our_ranking(queries, codes, codebooks, NEAREST)}
    searches |= {name: _search(index, queries) for name, index in indices.items()}
    kept = {name: int(index.sa_code_size()) for name, index in indices.items()}
    return searches, kept | {OURS: ours.code_size}


def _search(index: Any, queries: Tensor) -> Callable[[], Ids]:
    wanted = queries.numpy()
    return lambda: np.asarray(index.search(wanted, NEAREST)[1])


def _their_own(size: int) -> dict[str, Any]:
    """Faiss's indices of as many bits an image, to be trained."""
    bits, inner = size.bit_length() - 1, faiss.METRIC_INNER_PRODUCT
    plain, rotated = (faiss.IndexPQ(DIM, LEVELS, bits, inner) for _ in range(2))
    rotation = faiss.OPQMatrix(DIM, LEVELS)
    rotation.pq = faiss.ProductQuantizer(DIM, LEVELS, bits)  # as many codewords as the index
    residual = faiss.IndexResidualQuantizer(DIM, LEVELS, bits, inner, faiss.AdditiveQuantizer.ST_LUT_nonorm)
    for clustering in (plain.pq.cp, rotated.pq.cp, rotation.pq.cp, residual.rq.cp):
        clustering.min_points_per_centroid = 1
    turned = faiss.IndexPreTransform(rotation, rotated)
    return {"Faiss PQ": plain, "Faiss OPQ": turned, "Faiss residual quantizer": residual}
