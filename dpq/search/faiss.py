"""Our codes and codebooks in Faiss.

Axes: N images, M levels, K codewords, D dimensions, C lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpq.codes.additive import BLOCK, LOSING, centre, check_codebook_size, decode
from dpq.errors import InputError, one_line
from dpq.inputs.values import as_array, whole_number
from dpq.learning.settings import Score
from dpq.ranking.scores import checked, fitting

if TYPE_CHECKING:
    from dpq.protocols.base import Split

_MOST = 1 << 15
_POINTS = 64  # reconstructions per list that k-means sees


def import_faiss(user: str = "search") -> Any:
    """The module `faiss`, which takes a moment to load.

    Args:
        user: what needs it.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            f"{user} needs Faiss ({one_line(error)}); install it with: pip install 'dpq[search]'"
        ) from error
    return faiss


def needs_faiss(method: str, train: Split, codebook_size: int) -> None:
    """Refuse a method whose codebooks Faiss learns where there is none, whatever the data; for `MethodEntry.check`.

    Raises:
        InputError: as said.
    """
    import_faiss(method)


@contextmanager
def one_thread() -> Iterator[Any]:
    """The module `faiss`, which computes in one thread inside: with more, last digits of what it trains change."""
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(threads)


def training_points(x: Tensor, seed: int) -> NDArray[np.float32]:
    """Embeddings [N, D] as Faiss trains on them.

    Of more than 32,768 as many are drawn, as it makes several copies; fewer than 2 D are repeated: of fewer
    than D it finds no rotation, and writes where it must not.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(x))[:_MOST])
    points = x.detach().cpu().float().numpy()[drawn]
    return np.ascontiguousarray(np.tile(points, (2 * x.shape[1] // len(points) + 1, 1)))


def faiss_index(codes: Tensor, codebooks: Tensor, score: Score = "inner") -> Any:
    """A Faiss index that ranks coded images as `asymmetric_scores` does, by table look-up.

    Inner products take the M log2 K bits of a code, "l2" four bytes more an image, its exact squared norm. Distances
    of "l2" are Faiss's, smaller is better. An image's id is its row; `faiss.write_index` writes the index to a file.

    Args:
        codes: [N, M] uint8.
        codebooks: [M, K, D] float32.
        score: "inner" or "l2".

    Returns:
        `faiss.IndexResidualQuantizer`, to search and to add embeddings to.

    Raises:
        InputError: shapes do not fit, a code exceeds the codebook, an unknown score, or Faiss is not installed.
    """
    faiss = import_faiss()
    codes, codebooks = _fitting(codes, codebooks, score)
    index = faiss.IndexResidualQuantizer(codebooks.shape[2], *_kind(faiss, codebooks, score))
    index.add_sa_codes(_packed(index, codes, codebooks))
    return index


def inverted_index(codes: Tensor, codebooks: Tensor, centroids: NDArray[np.float32], score: Score = "inner") -> Any:
    """An inverted file (IVF) of the same codes, for large sets: a search looks at some of its lists alone.

    An image stands in the list whose centroid is nearest to its reconstruction. What is approximate is only which lists
    are looked at: the `nprobe` whose centroids have the best scores for the query. Within them scores are those of
    `faiss_index`, not of residuals, so `nprobe` = C gives the same ids up to ties; fewer miss the images of other
    lists.

    Args:
        codes: [N, M] uint8.
        codebooks: [M, K, D] float32.
        centroids: [C, D] float32, from `list_centroids`.
        score: "inner" or "l2".

    Returns:
        `faiss.IndexIVFResidualQuantizer`, whose ids are rows; `nprobe` is C.

    Raises:
        InputError: as for `faiss_index`.
    """
    faiss = import_faiss()
    codes, codebooks = _fitting(codes, codebooks, score)
    centroids = _centroids(centroids, codebooks)
    levels, bits, metric, search = _kind(faiss, codebooks, score)
    coarse = faiss.IndexFlat(codebooks.shape[2], metric)
    coarse.add(centroids)
    index = faiss.IndexIVFResidualQuantizer(coarse, codebooks.shape[2], len(centroids), levels, bits, metric, search)
    index.by_residual, index.nprobe = False, len(centroids)
    packed = _packed(index, codes, codebooks)
    shift = centre(torch.from_numpy(centroids))
    near = centroids - shift.numpy()
    parts = (decode(part, codebooks) - shift for part in torch.split(codes, BLOCK))
    nearest = np.concatenate([faiss.knn(part.numpy(), near, 1)[1] for part in parts])
    # What is added are the bytes of a list's number that this many lists need, then the code.
    numbers = nearest.astype("<i8").view(np.uint8)[:, : index.coarse_code_size()]
    index.add_sa_codes(np.hstack([numbers, packed]))
    return index


def check_lists(lists: int, images: int) -> int:
    """The number of lists; refuses more of them than images, or none.

    Raises:
        InputError: as said.
    """
    lists = whole_number("lists", lists, None)
    if not 1 <= lists <= images:
        raise InputError(f"an index of {images} images can have 1 to {images} lists; got {lists}")
    return lists


def list_centroids(codes: Tensor, codebooks: Tensor, lists: int, seed: int = 0) -> NDArray[np.float32]:
    """Centroids of the lists of an inverted file, by Faiss's k-means on reconstructions.

    Args:
        codes: [N, M] uint8; of more than 64 C, as many are drawn.
        codebooks: [M, K, D] float32.
        lists: C; about the square root of N suits.
        seed: of the draw and of k-means.

    Returns:
        [C, D].

    Raises:
        InputError: C is below 1 or above N, or codes and codebooks do not fit.
    """
    faiss = import_faiss()
    codes, codebooks = _fitting(codes, codebooks)
    if not len(codes):
        raise InputError("an index without images has nothing to divide; add images first")
    lists, seed = check_lists(lists, len(codes)), whole_number("seed", seed, 0, 2**31 - 1)
    drawn = np.random.default_rng(seed).permutation(len(codes))[: _POINTS * lists]
    points = decode(codes[torch.from_numpy(np.sort(drawn))], codebooks)
    shift = centre(points)
    kmeans = faiss.Kmeans(points.shape[1], lists, seed=seed, min_points_per_centroid=1)
    kmeans.train((points - shift).numpy())
    return np.asarray(kmeans.centroids + shift.numpy(), np.float32)


def set_codebooks(quantizer: Any, codebooks: Tensor) -> None:
    """Give an additive quantizer of Faiss codebooks [M, K, D], as if it had been trained."""
    values = np.ascontiguousarray(codebooks.cpu().numpy(), np.float32).ravel()
    import_faiss().copy_array_to_vector(values, quantizer.codebooks)
    quantizer.is_trained = True


def _fitting(codes: Tensor, codebooks: Tensor, score: Score = "inner") -> tuple[Tensor, Tensor]:
    """Codes and codebooks that have been checked, on the CPU.

    Raises:
        InputError: they do not fit, or Faiss, which computes in float32, would lose the distances between them.
    """
    _, codes, codebooks = fitting(None, codes, codebooks)
    check_codebook_size(codebooks.shape[1])
    codebooks = codebooks.detach().cpu().float()
    if checked(score) == "l2" and any(centre(codebook, LOSING).any() for codebook in codebooks):
        raise InputError(
            "Faiss would lose the distances of these codes in float32, as a mean of their codewords is large against "
            "the spread; search with CodeIndex.search, or subtract the mean of embeddings before training"
        )
    return codes.cpu(), codebooks


def _centroids(centroids: NDArray[np.float32], codebooks: Tensor) -> NDArray[np.float32]:
    array = np.ascontiguousarray(as_array(centroids, "centroids"), np.float32)
    if array.ndim != 2 or not len(array) or array.shape[1] != codebooks.shape[2] or not np.isfinite(array).all():
        raise InputError(f"centroids are finite numbers [C, {codebooks.shape[2]}]; got {list(array.shape)}")
    return array


def _kind(faiss: Any, codebooks: Tensor, score: Score) -> tuple[int, int, int, int]:
    """Levels, bits per level, metric and search type of codebooks that have been checked."""
    levels, size = codebooks.shape[:2]
    types = faiss.AdditiveQuantizer
    if checked(score) == "inner":
        return levels, size.bit_length() - 1, faiss.METRIC_INNER_PRODUCT, types.ST_LUT_nonorm
    return levels, size.bit_length() - 1, faiss.METRIC_L2, types.ST_norm_float


def _packed(index: Any, codes: Tensor, codebooks: Tensor) -> NDArray[np.uint8]:
    """Codes [N, M] as the index writes them, [N, bytes]: bit by bit, with norms where it keeps them.

    The index is given the codebooks, which codes are packed by, and codes greedily, as we do.
    """
    faiss, quantizer = import_faiss(), index.rq
    quantizer.max_beam_size = 1
    set_codebooks(quantizer, codebooks)
    index.is_trained = True
    packed = np.zeros((len(codes), quantizer.code_size), np.uint8)
    for start in range(0, len(codes), BLOCK):  # it reconstructs all that it is given, for their norms
        indices = np.ascontiguousarray(codes[start : start + BLOCK].cpu().numpy(), np.int32)
        block = packed[start : start + BLOCK]
        quantizer.pack_codes(len(indices), faiss.swig_ptr(indices), faiss.swig_ptr(block))
    return packed
