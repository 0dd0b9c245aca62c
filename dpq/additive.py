"""Additive codebooks: an image's reconstruction is the sum of one codeword per level.

Axes: N images, B batch, D dimensions, M levels, K codewords.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from dpq.errors import InputError

BLOCK = 8192  # images coded or decoded at once; bounds a [B, K] table to 8 MiB

Choice = Literal["l2", "cosine"]


def levels_for(bits: int, codebook_size: int) -> int:
    """Number of levels M of a code of `bits` bits.

    Raises:
        InputError: not a positive multiple of log2 K.
    """
    step = codebook_size.bit_length() - 1
    if bits <= 0 or bits % step:
        raise InputError(
            f"code lengths must be multiples of {step} bits (log2 of {codebook_size} codewords); got {bits}"
        )
    return bits // step


def decode(codes: Tensor, codebooks: Tensor, levels: int | None = None) -> Tensor:
    """Sum of the chosen codewords of the first `levels` levels.

    Args:
        codes: [N, M] integer.
        codebooks: [M, K, D] float.
        levels: how many levels to sum; None means all that the codes have.

    Returns:
        Reconstructions, [N, D].

    Raises:
        InputError: more levels are asked for than there are.
    """
    levels = codes.shape[1] if levels is None else levels
    if not 1 <= levels <= min(codes.shape[1], codebooks.shape[0]):
        raise InputError(
            f"cannot decode {levels} levels: the codes have {codes.shape[1]}, the codebooks {len(codebooks)}"
        )
    total = codebooks[0][codes[:, 0].long()]
    for level in range(1, levels):
        total = total + codebooks[level][codes[:, level].long()]
    return total


def affinities(residual: Tensor, codebook: Tensor, choice: Choice) -> Tensor:
    """How well each codeword fits each residual; the hard code is the largest.

    Args:
        residual: [B, D].
        codebook: [K, D].
        choice: "l2" gives `2 <r, c> - ||c||^2`, that is `-||r - c||^2` less a term that all codewords share;
            "cosine" gives the cosine, as in the released code (codeword length ignored in the choice).

    Returns:
        [B, K].
    """
    if choice == "cosine":
        return F.normalize(residual, dim=1) @ F.normalize(codebook, dim=1).T
    return 2 * residual @ codebook.T - codebook.square().sum(dim=1)


def kmeans(points: np.ndarray, clusters: int, seed: int, iterations: int = 50) -> np.ndarray:
    """Centres of scikit-learn's k-means, [clusters, D] float32.

    Duplicated points can leave fewer distinct centres than asked for; the surplus repeats points.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(clusters, n_init=1, max_iter=iterations, random_state=seed).fit(points)
    return np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32)
