"""Additive codebooks: an image's reconstruction is the sum of one codeword per level.

Axes: N images, B batch, D dimensions, M levels, K codewords.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from dpq.codes.lloyd import lloyd
from dpq.errors import Diverged, InputError, ignored
from dpq.inputs.values import Numbers, as_array, as_tensor, one_of, whole_number

_FAR = 4.0  # a mean that is this many times as long as the spread costs a product about one of float32's digits
LOSING = 30.0  # so many times, and it costs a squared distance a thousandth
_DIGITS = 1e-5  # a squared distance below this share of squared lengths: float32 gets a hundredth of it wrong, or more
BLOCK = 8192  # images coded or decoded at once; bounds a [B, K] table to 8 MiB

Choice = Literal["l2", "cosine"]


def check_codebook_size(codebook_size: int) -> int:
    """The number of codewords, if their indices are a whole number of bits, and at most a byte.

    Raises:
        InputError: not a power of two from 2 to 256.
    """
    size = whole_number("codebook_size", codebook_size, None)
    if not 2 <= size <= 256 or size & (size - 1):
        raise InputError(f"codebook_size must be a power of two from 2 to 256 (one byte per level); got {size}")
    return size


def levels_for(bits: int, codebook_size: int) -> int:
    """Number of levels M of a code of `bits` bits.

    Raises:
        InputError: not a positive multiple of log2 K, or an unusable K.
    """
    size, length = check_codebook_size(codebook_size), whole_number("bits", bits, None)
    step = size.bit_length() - 1
    if length <= 0 or length % step:
        raise InputError(f"code lengths must be multiples of {step} bits (log2 of {size} codewords); got {length}")
    return length // step


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
        raise Diverged(
            f"training left codebooks {list(codebooks.shape)} that are not finite numbers {list(shape)}; lower the "
            "learning rate, or look at the method"
        )
    if untrained is not None:
        same = [level for level, pair in enumerate(zip(codebooks, untrained, strict=True), 1) if torch.equal(*pair)]
        if same:
            raise InputError(f"training never fitted the codebook of level {same[0]}; raise epochs")


def embeddings_for(x: Numbers, codebooks: Tensor) -> Tensor:
    """Embeddings [N, D] in the type of the codebooks [..., D]; where they are, or if no tensor, where those are.

    Raises:
        InputError: they are of another form.
    """
    given = as_tensor(x, "embeddings")
    if given.ndim != 2 or given.shape[1] != codebooks.shape[-1]:
        raise InputError(f"expected embeddings [N, {codebooks.shape[-1]}]; got {given.dtype} {list(given.shape)}")
    return given.to(given.device if given is x else codebooks.device, codebooks.dtype)


def usable_embeddings(x: Numbers, codebooks: Tensor) -> Tensor:
    """As `embeddings_for`, of embeddings that are all finite.

    Raises:
        InputError: they are of another form, or one is not finite in that type.
    """
    embeddings = embeddings_for(x, codebooks)
    check_finite(embeddings)
    return embeddings


def usable_codebooks(codebooks: Numbers) -> Tensor:
    """Codebooks [M, K, D] as a tensor of real numbers.

    Raises:
        InputError: they are of another form.
    """
    given = as_tensor(codebooks, "codebooks")
    if given.ndim != 3 or not given.is_floating_point() or not len(given):
        raise InputError(f"codebooks are real numbers [M, K, D]; got {given.dtype} {list(given.shape)}")
    return given


def usable_codes(codes: Numbers, size: int | None = None) -> Tensor:
    """Codes [N, M] as a tensor of whole numbers.

    Args:
        codes: as `encode` gives them, of any integer type.
        size: codewords per level; None leaves their range to a later check.

    Raises:
        InputError: they are of another form, or one is no index of a codeword.
    """
    given = as_tensor(codes, "codes")
    if given.ndim != 2 or given.dtype == torch.bool or given.is_floating_point():
        raise InputError(
            f"codes are whole numbers [N, M]; got {given.dtype} {list(given.shape)}: give what `encode` or `transform` "
            "returns"
        )
    if size is not None and given.numel():
        least, most = torch.stack(torch.aminmax(given)).tolist()  # one read: it stalls a GPU
        if least < 0 or most >= size:
            raise InputError(f"codes of {size} codewords are from 0 to {size - 1}; got {least} to {most}")
    return given


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


def _on_host(x: Tensor) -> bool:
    return not x.is_cuda


def coded_at_once(device: torch.device) -> int:
    """How many embeddings are coded at once: on a GPU, which waits for the host at each level of each block, more."""
    return 8 * BLOCK if device.type == "cuda" else BLOCK


@torch.no_grad()
def encode(x: Numbers, codebooks: Numbers, choice: Choice = "l2") -> Tensor:
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
    one_of("choice", choice, get_args(Choice))
    codebooks = usable_codebooks(codebooks)
    x = usable_embeddings(x, codebooks)
    codes = torch.empty(len(x), len(codebooks), dtype=torch.uint8, device=x.device)
    step = coded_at_once(x.device)
    for start in range(0, len(x), step):
        residual = x[start : start + step]
        for level, codebook in enumerate(codebooks):
            code = nearest(residual, codebook, choice)
            codes[start : start + step, level] = code.to(torch.uint8)
            residual = residual - codebook[code]
    return codes


def decode(codes: Numbers, codebooks: Numbers, levels: int | None = None) -> Tensor:
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
    given, codebooks = usable_codes(codes), usable_codebooks(codebooks)
    levels = given.shape[1] if levels is None else whole_number("levels", levels, None)
    if not 1 <= levels <= min(given.shape[1], codebooks.shape[0]):
        raise InputError(
            f"cannot decode {levels} levels: the codes have {given.shape[1]}, the codebooks {len(codebooks)}"
        )
    used = usable_codes(given[:, :levels], codebooks.shape[1]).long()
    codes = used if given is codes else used.to(codebooks.device)
    total = codebooks[0][codes[:, 0]]
    for level in range(1, levels):
        total = total + codebooks[level][codes[:, level]]
    return total


def centre(points: Tensor, far: float = _FAR) -> Tensor:
    """What to take off vectors before their products with `points`, so that differences keep their digits in float32.

    Args:
        points: [K, D] float; alone they decide, so the code of an image does not depend on other images.
        far: how many times as long as the spread a mean is that is taken off.

    Returns:
        [D]: the mean of `points` if it is more than `far` times as long as they are spread around it; else zeros, which
        change no bit.
    """
    points = points.detach()
    mean = points.mean(dim=0)
    # Beside the mean, their mean square is their spread.
    large = mean.square().sum() * (1 + far**-2) > points.square().sum(dim=1).mean()
    return torch.where(large, mean, torch.zeros_like(mean))


def centred(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors and codebooks of the same differences `x - sum_m C_m[b_m]`, less the `centre` of each codebook.

    Args:
        x: [N, D] float.
        codebooks: [M, K, D] float.

    Returns:
        [N, D] and [M, K, D]; those that were given where no mean is large, and float64 where codewords lie in groups
        that are far apart against the distances within them.
    """
    shifts = torch.stack([centre(codebook) for codebook in codebooks])
    if _grouped(codebooks):
        x, codebooks = x.double(), codebooks.double()
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


def nearest(residual: Tensor, codebook: Tensor, choice: Choice) -> Tensor:
    """The codeword [B] that fits each residual best; arguments as for `affinities`.

    A residual that is much nearer to its codeword than both are long leaves float32 no digits to choose by, as where
    embeddings lie in groups far apart; it is compared in float64.
    """
    fits = affinities(residual, codebook, choice)
    code = fits.argmax(dim=1)
    if choice == "cosine" or fits.dtype != torch.float32:
        return code
    shift = centre(codebook)
    lengths = torch.linalg.vector_norm(residual - shift, dim=1).square()
    distances = lengths - fits.gather(1, code[:, None])[:, 0]
    lost = torch.nonzero(distances < _DIGITS * (lengths + (codebook - shift).square().sum(dim=1).max()))[:, 0]
    if len(lost):
        code[lost] = affinities(residual[lost].double(), codebook.double(), choice).argmax(dim=1)
    return code


def _grouped(codebooks: Tensor, most: int = 32) -> bool:
    """Whether most codewords of a level, or of some of them, have another so near that float32 loses the distance."""
    points = codebooks[:, :: -(-codebooks.shape[1] // most)].detach().double()  # [M, k, D]
    points = points - points.mean(dim=1, keepdim=True)
    distances = torch.cdist(points, points).square()
    apart = distances.masked_fill(distances == 0, torch.inf).amin(dim=2).median(dim=1).values
    return bool((apart < _DIGITS * points.square().sum(dim=2).amax(dim=1)).any())


def kmeans(points: npt.ArrayLike, clusters: int, seed: int, iterations: int = 50) -> np.ndarray:
    """Centres of scikit-learn's k-means, [clusters, D] float32.

    Duplicated points can leave fewer distinct centres than asked for; the surplus repeats points.

    Raises:
        InputError: fewer points than clusters, one that is not finite, or a number out of range.
    """
    x = np.require(as_array(points, "points"), requirements=["C", "W"])
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    clusters, seed, iterations = _clusterable(x, clusters, seed, iterations)
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    shift = centre(torch.from_numpy(x)).numpy()
    x = x - shift
    with ignored(ConvergenceWarning):
        fitted = KMeans(clusters, n_init=1, max_iter=iterations, random_state=seed).fit(x)
        # Groups far apart, within which float32 has no digits to tell points apart.
        if 0 < fitted.inertia_ < _DIGITS * np.square(x).sum(dtype=np.float64):
            fitted.fit(x.astype(np.float64))
    return np.ascontiguousarray(fitted.cluster_centers_ + shift, dtype=np.float32)


def _clusterable(x: np.ndarray | Tensor, clusters: int, seed: int, iterations: int) -> tuple[int, int, int]:
    """The numbers that were given, as integers; refuses them, and points [N, D], as `kmeans` says."""
    clusters, iterations = whole_number("clusters", clusters), whole_number("iterations", iterations)
    seed = whole_number("seed", seed, 0, 2**32 - 1)
    if x.ndim != 2:
        raise InputError(f"points are [N, D]; got {list(x.shape)}")
    check_enough(len(x), clusters)
    check_finite(torch.as_tensor(x))
    return clusters, seed, iterations


@torch.no_grad()
def kmeans_in_parts(parts: Sequence[Tensor], clusters: int, seed: int, iterations: int = 50) -> list[Tensor]:
    """Centres of k-means in each of several parts of the same embeddings, as in the sub-spaces of a product quantizer.

    On CUDA the parts are clustered beside each other, and nothing comes to the host (`dpq.codes.lloyd`); elsewhere
    this is `kmeans`.

    Args:
        parts: [N, d] float each, on one device.
        clusters: K.
        seed: of the first part; one more for each further one.
        iterations: at most.

    Returns:
        [K, d] float32 each, where the parts are.

    Raises:
        InputError: as for `kmeans`.
    """
    if _on_host(parts[0]):
        given = [part.cpu().numpy() for part in parts]
        found = [kmeans(part, clusters, seed + index, iterations) for index, part in enumerate(given)]
        return [torch.from_numpy(centres).to(parts[0].device) for centres in found]
    checked = [_clusterable(part, clusters, seed + index, iterations) for index, part in enumerate(parts)]
    clusters, _, iterations = checked[0]
    width = max(part.shape[1] for part in parts)
    padded = torch.stack([F.pad(part, (0, width - part.shape[1])) for part in parts])  # zeros change no distance
    centres = lloyd(padded, clusters, [one for _, one, _ in checked], iterations).float()
    return [own[:, : part.shape[1]] for own, part in zip(centres, parts, strict=True)]


@torch.no_grad()
def residual_kmeans(
    x: Numbers, levels: int, codebook_size: int, seed: int, choice: Choice = "l2", iterations: int = 50
) -> Tensor:
    """Codebooks by k-means on successive residuals (residual quantization), [M, K, D] where `x` is.

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
    one_of("choice", choice, get_args(Choice))
    residual = as_tensor(x, "embeddings").detach().float()
    codebooks = []
    for level in range(whole_number("levels", levels)):
        codebook = kmeans_in_parts([residual], codebook_size, seed + level, iterations)[0]
        residual = residual - codebook[nearest(residual, codebook, choice)]
        codebooks.append(codebook)
    return torch.stack(codebooks)
