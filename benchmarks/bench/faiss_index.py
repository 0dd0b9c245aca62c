"""Our codes and codebooks in Faiss.

Axes: N images, M levels, K codewords, D dimensions.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from torch import Tensor

from dpq.scores import Score, check_codes, checked


def faiss_index(codes: Tensor, codebooks: Tensor, score: Score = "inner") -> Any:
    """A Faiss index that ranks coded images as `asymmetric_scores` does, by table look-up.

    Inner products take the M log2 K bits of a code, "l2" four bytes more an image, its exact squared norm. Distances
    of "l2" are Faiss's, smaller is better.

    Args:
        codes: [N, M] uint8.
        codebooks: [M, K, D] float32.
        score: "inner" or "l2".

    Returns:
        `faiss.IndexResidualQuantizer`, to search and to add embeddings to.

    Raises:
        InputError: shapes do not fit, a code exceeds the codebook, or an unknown score.
    """
    check_codes(codebooks[0], codes, codebooks)
    levels, size, dim = codebooks.shape
    inner, kinds = checked(score) == "inner", faiss.AdditiveQuantizer
    metric = faiss.METRIC_INNER_PRODUCT if inner else faiss.METRIC_L2
    search = kinds.ST_LUT_nonorm if inner else kinds.ST_norm_float
    index = faiss.IndexResidualQuantizer(dim, levels, size.bit_length() - 1, metric, search)
    index.rq.max_beam_size = 1  # as we code
    set_codebooks(index.rq, codebooks)
    index.is_trained = True
    index.add_sa_codes(_packed(index.rq, codes))
    return index


def set_codebooks(quantizer: Any, codebooks: Tensor) -> None:
    """Give an additive quantizer of Faiss codebooks [M, K, D], as if it had been trained."""
    faiss.copy_array_to_vector(np.ascontiguousarray(codebooks.cpu().numpy(), np.float32).ravel(), quantizer.codebooks)
    quantizer.is_trained = True


def _packed(quantizer: Any, codes: Tensor) -> Any:
    """Codes [N, M] as the quantizer writes them, [N, bytes]: bit by bit, with norms where it keeps them."""
    indices = np.ascontiguousarray(codes.cpu().numpy(), np.int32)
    packed = np.zeros((len(indices), quantizer.code_size), np.uint8)
    quantizer.pack_codes(len(indices), faiss.swig_ptr(indices), faiss.swig_ptr(packed))
    return packed
