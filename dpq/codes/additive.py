"""Additive codebooks: an image's reconstruction is the sum of one codeword per level.

Axes: N images, B batch, D dimensions, M levels, K codewords.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dpq.errors import InputError

_FAR = 4.0  # a mean that is this many times as long as the spread costs a product about one of float32's digits
BLOCK = 8192  # images coded or decoded at once; bounds a [B, K] table to 8 MiB

Choice = Literal["l2", "cosine"]


def check_codebook_size(codebook_size: int) -> None:
    """Refuse codebooks whose indices are no whole number of bits, or more than a byte.

    Raises:
        InputError: not a power of two from 2 to 256.
    """
    if not 2 <= codebook_size <= 256 or codebook_size & (codebook_size - 1):
        raise InputError(
            f"the codebook size must be a power of two from 2 to 256 (one byte per level); got {codebook_size}"
        )


def levels_for(bits: int, codebook_size: int) -> int:
    """Number of levels M of a code of `bits` bits.

    Raises:
        InputError: not a positive multiple of log2 K, or an unusable K.
    """
    check_codebook_size(codebook_size)
    step = codebook_size.bit_length() - 1
    if bits <= 0 or bits % step:
        raise InputError(
            f"code lengths must be multiples of {step} bits (log2 of {codebook_size} codewords); got {bits}"
        )
    return bits // step


def prefix_levels(bits: int, trained: int, codebook_size: int) -> int:
    """Number of levels that a code of `bits` bits takes of the `trained` levels.

    Raises:
        InputError: not a multiple of log2 K, or more than was trained.
    """
    levels = levels_for(bits, codebook_size)
    if levels > trained:
        raise InputError(f"{bits} bits exceed the {bits // levels * trained} bits that were trained ({trained} levels)")
    return levels


def check_enough(points: int, codebook_size: int) -> None:
    """Refuse to fit more codewords than there are points.

    Raises:
        InputError: fewer points than codewords.
    """
    if points < codebook_size:
        raise InputError(
            f"{codebook_size} codewords per level need at least as many training images; got {points}: "
            "use more images or a smaller codebook"
        )


def check_fitted(codebooks: Tensor, shape: tuple[int, ...], untrained: Tensor | None = None) -> None:
    """Refuse codebooks [M, K, D] that a training leaves as it must not.

    Args:
        codebooks: after training.
        shape: that they should have.
        untrained: what they were before; None where there were none.

    Raises:
        InputError: another shape, a number that is not finite, or a level that was never fitted.
    """
    if codebooks.shape != shape or not codebooks.isfinite().all():
        raise InputError(
            f"training left codebooks {list(codebooks.shape)} that are not finite numbers {list(shape)}; lower the "
            "learning rate, or look at the method"
        )
    if untrained is not None:
        same = [level for level, pair in enumerate(zip(codebooks, untrained, strict=True), 1) if torch.equal(*pair)]
        if same:
            raise InputError(f"training never fitted the codebook of level {same[0]}; raise epochs")


def usable_embeddings(x: Tensor, codebooks: Tensor) -> Tensor:
    """Embeddings [N, D] in the type of the codebooks [..., D].

    Raises:
        InputError: they are of another form, or one is not finite in that type.
    """
    if x.ndim != 2 or x.shape[1] != codebooks.shape[-1] or x.is_complex():
        raise InputError(f"expected embeddings [N, {codebooks.shape[-1]}]; got {x.dtype} {list(x.shape)}")
    x = x.to(codebooks.dtype)
    check_finite(x)
    return x


def check_finite(x: Tensor) -> None:
    """Refuse embeddings [N, D] of which one is not finite: no codeword is near to it.

    Raises:
        InputError: names the first.
    """
    finite = torch.isfinite(x).all(dim=1)
    if not finite.all():
        first = int(finite.int().argmin())
        raise InputError(
            f"{int((~finite).sum())} of {len(x)} embeddings hold NaN or infinity, the first is embedding {first}; "
            "leave them out, or mend what made them"
        )


@torch.no_grad()
def encode(x: Tensor, codebooks: Tensor, choice: Choice = "l2") -> Tensor:
    """Greedy codes: level by level, the codeword that fits best what the earlier levels left.

    For codebooks whose levels live in disjoint sub-spaces (product quantization) greedy is exact.

    Args:
        x: [N, D], of any real type.
        codebooks: [M, K, D] float.
        choice: as for `affinities`.

    Returns:
        [N, M] uint8.

    Raises:
        InputError: the dimension differs from the codebooks', or an embedding is not finite.
    """
    x = usable_embeddings(x, codebooks)
    codes = torch.empty(len(x), len(codebooks), dtype=torch.uint8, device=x.device)
    for start in range(0, len(x), BLOCK):
        residual = x[start : start + BLOCK]
        for level, codebook in enumerate(codebooks):
            code = affinities(residual, codebook, choice).argmax(dim=1)
            codes[start : start + BLOCK, level] = code.to(torch.uint8)
            residual = residual - codebook[code]
    return codes


def decode(codes: Tensor, codebooks: Tensor, levels: int | None = None) -> Tensor:
    """Sum of the chosen codewords of the first `levels` levels.

    Args:
        codes: [N, M] integer.
        codebooks: [M, K, D] float.
        levels: how many levels to sum; None means all that the codes have.

    Returns:
        Reconstructions, [N, D].

    Raises:
        InputError: more levels are asked for than there are, or a code is no index of a codeword.
    """
    if codes.ndim != 2 or codes.dtype == torch.bool or codes.is_floating_point() or codes.is_complex():
        raise InputError(f"codes are integers [N, M]; got {codes.dtype} {list(codes.shape)}")
    levels = codes.shape[1] if levels is None else levels
    if not 1 <= levels <= min(codes.shape[1], codebooks.shape[0]):
        raise InputError(
            f"cannot decode {levels} levels: the codes have {codes.shape[1]}, the codebooks {len(codebooks)}"
        )
    codes, size = codes[:, :levels].long(), codebooks.shape[1]
    ends = torch.stack(torch.aminmax(codes, dim=0), dim=1).tolist() if len(codes) else []  # one read: it stalls a GPU
    for least, most in ends:
        if least < 0 or most >= size:
            raise InputError(f"codes of {size} codewords are from 0 to {size - 1}; got {least} to {most}")
    total = codebooks[0][codes[:, 0]]
    for level in range(1, levels):
        total = total + codebooks[level][codes[:, level]]
    return total


def centre(points: Tensor) -> Tensor:
    """What to take off vectors before their products with `points`, so that differences keep their digits in float32.

    Args:
        points: [K, D] float; alone they decide, so the code of an image does not depend on other images.

    Returns:
        [D]: the mean of `points` if it is more than four times as long as they are spread around it; else zeros, which
        change no bit.
    """
    points = points.detach()
    mean = points.mean(dim=0)
    # Beside the mean, their mean square is their spread.
    far = mean.square().sum() * (1 + _FAR**-2) > points.square().sum(dim=1).mean()
    return torch.where(far, mean, torch.zeros_like(mean))


def centred(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors and codebooks of the same differences `x - sum_m C_m[b_m]`, less the `centre` of each codebook.

    Args:
        x: [N, D] float.
        codebooks: [M, K, D] float.

    Returns:
        [N, D] and [M, K, D]; those that were given where no mean is large.
    """
    shifts = torch.stack([centre(codebook) for codebook in codebooks])
    if not shifts.any():
        return x, codebooks
    x, codebooks = (values.to(torch.promote_types(values.dtype, torch.float32)) for values in (x, codebooks))
    for shift in shifts:  # one by one, as their sum would lose digits
        x = x - shift
    return x, codebooks - shifts[:, None]


def affinities(residual: Tensor, codebook: Tensor, choice: Choice) -> Tensor:
    """How well each codeword fits each residual; the hard code is the largest.

    Args:
        residual: [B, D].
        codebook: [K, D].
        choice: "l2" gives `2 <r, c> - ||c||^2`, that is `-||r - c||^2` less a term that all codewords share;
            "cosine" gives the cosine, as in the released code (codeword length ignored in the choice). Where the
            codewords have a large mean, both are of differences from it, less another term that all share.

    Returns:
        [B, K].
    """
    if choice == "cosine":
        residual, codebook = F.normalize(residual, dim=1), F.normalize(codebook, dim=1)
    shift = centre(codebook)
    residual, codebook = residual - shift, codebook - shift
    # Twice the shorter factor: the bits are those of twice the product.
    if choice == "l2":
        return residual @ (2 * codebook).T - codebook.square().sum(dim=1)
    # Unit vectors: <u, c> is <u - m, c - m> - ||c - m||^2 / 2 and a term that all share.
    norms = torch.where(shift.any(), codebook.square().sum(dim=1), 0)
    return residual @ codebook.T - norms / 2


def kmeans(points: np.ndarray, clusters: int, seed: int, iterations: int = 50) -> np.ndarray:
    """Centres of scikit-learn's k-means, [clusters, D] float32.

    Duplicated points can leave fewer distinct centres than asked for; the surplus repeats points.

    Raises:
        InputError: fewer points than clusters, or one that is not finite.
    """
    check_enough(len(points), clusters)
    check_finite(torch.from_numpy(points))
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    shift = centre(torch.from_numpy(points)).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(clusters, n_init=1, max_iter=iterations, random_state=seed).fit(points - shift)
    return np.ascontiguousarray(fitted.cluster_centers_ + shift, dtype=np.float32)


@torch.no_grad()
def residual_kmeans(
    x: Tensor, levels: int, codebook_size: int, seed: int, choice: Choice = "l2", iterations: int = 50
) -> Tensor:
    """Codebooks by k-means on successive residuals (residual quantization), [M, K, D] on the CPU.

    Args:
        x: [N, D] float, on any device.
        levels: M.
        codebook_size: K.
        seed: of k-means.
        choice: which codeword a residual is assigned to before the next level.
        iterations: of k-means, at most, per level.

    Raises:
        InputError: fewer points than codewords, or one that is not finite.
    """
    residual = x.float().cpu()
    codebooks = []
    for level in range(levels):
        codebook = torch.from_numpy(kmeans(residual.numpy(), codebook_size, seed + level, iterations))
        residual = residual - codebook[affinities(residual, codebook, choice).argmax(dim=1)]
        codebooks.append(codebook)
    return torch.stack(codebooks)
