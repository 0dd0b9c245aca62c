"""Additive codebooks by least squares: those that fit given codes best.

Axes: N images, D dimensions, M levels, K codewords.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dpq.codes.additive import kmeans_in_parts, nearest, usable_codes


def orthogonality_penalty(codebooks: Tensor) -> Tensor:
    """Mean over codeword pairs of the entries of `sum_{m, m'} ||C_m^T C_m' - I||^2` (Liu et al. 2018).

    Args:
        codebooks: [M, K, D]; the paper's C_m has codewords as columns.

    Returns:
        Scalar: the sum divided by (M K)^2.
    """
    levels, size, _ = codebooks.shape
    flat = codebooks.flatten(0, 1)
    identity = torch.eye(size, dtype=flat.dtype, device=flat.device).repeat(levels, levels)
    return (flat @ flat.T - identity).square().mean()


def least_squares_codebooks(
    x: Tensor, codes: Tensor, codebooks: Tensor, orthogonality: float = 0.0, ridge: float = 1e-3
) -> Tensor:
    """Codebooks that minimise the squared error of given codes, plus the weighted penalty.

    Args:
        x: [N, D].
        codes: [N, M] uint8.
        codebooks: [M, K, D], the present ones; codewords that no code uses stay as they are.
        orthogonality: weight of `orthogonality_penalty` against the mean squared error of an image; 0 has a closed
            form.
        ridge: weight of the squared distance to the present codewords; the systems of additive codes are singular.

    Returns:
        [M, K, D].

    Raises:
        InputError: a code is no index of a codeword.
    """
    levels, size, dim = codebooks.shape
    codes = usable_codes(codes, size)
    columns = codes.long() + size * torch.arange(levels, device=codes.device)
    chosen = torch.zeros(len(x), levels * size, dtype=torch.float64, device=x.device).scatter_(1, columns, 1.0)
    present = codebooks.reshape(-1, dim).double()
    normal = chosen.T @ chosen + ridge * torch.eye(levels * size, dtype=torch.float64, device=x.device)
    right = chosen.T @ x.double() + ridge * present
    solved: Tensor = torch.linalg.solve(normal, right)
    if orthogonality > 0:
        normal, right = normal.float() / len(x), right.float() / len(x)
        solved = _penalised(solved.float(), normal, right, codebooks.shape, orthogonality)
    return solved.reshape(levels, size, dim).to(codebooks.dtype)


@torch.no_grad()
def shared_codebook(
    x: Tensor, levels: int, codebook_size: int, seed: int, start: Tensor | None = None, rounds: int = 10
) -> tuple[Tensor, Tensor]:
    """One codebook C that serves all levels, level l as `w_l C`, with greedy codes by cosine.

    Codewords that no level takes are moved onto points. Then in turns: codes, and for each level after the first the
    scalar that leaves least; and the codebook that leaves least of all prefixes of these codes together.

    Args:
        x: [N, D] float.
        levels: M.
        codebook_size: K.
        seed: of k-means, and of the points that codewords move onto.
        start: codebook [K, D] to begin with; None takes the centres of k-means, which fit residuals badly.
        rounds: turns; 0 gives the codebook that it begins with, and scalars for it.

    Returns:
        Codebook [K, D] and scalars [M], of which the first is 1.

    Raises:
        InputError: fewer points than codewords, or one that is not finite.
    """
    codebook = kmeans_in_parts([x], codebook_size, seed)[0] if start is None else start.clone()
    unused = (_greedy_shares(x, codebook, levels)[1][-1] == 0).all(dim=0)
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:codebook_size].to(x.device)
    codebook = torch.where(unused[:, None], x[rows], codebook)
    for _ in range(rounds):
        shares = _greedy_shares(x, codebook, levels)[1]
        normal = shares.flatten(0, 1).T @ shares.flatten(0, 1)
        ridge = 1e-3 * torch.eye(codebook_size, dtype=normal.dtype, device=x.device)
        right = shares.sum(dim=0).T @ x.double() + 1e-3 * codebook.double()
        codebook = torch.linalg.solve(normal + ridge, right).to(x.dtype)
    return codebook, _greedy_shares(x, codebook, levels)[0]


def _greedy_shares(x: Tensor, codebook: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Scalars [M], and how much each prefix of the codes has of each codeword, [M, N, K] float64."""
    residual, scales, used = x, [x.new_ones(())], []
    for level in range(levels):
        code = nearest(residual, codebook, "cosine")
        chosen = codebook[code]
        if level:
            scales.append((residual * chosen).sum() / chosen.square().sum())
        residual = residual - scales[level] * chosen
        used.append(scales[level] * F.one_hot(code, len(codebook)))
    return torch.stack(scales), torch.stack(used).double().cumsum(dim=0)


def _penalised(start: Tensor, normal: Tensor, right: Tensor, shape: torch.Size, orthogonality: float) -> Tensor:
    """Minimise the quadratic `tr(C^T normal C) - 2 tr(C^T right)` plus the penalty, from the unpenalised solution."""
    flat = start.clone(memory_format=torch.contiguous_format).requires_grad_()
    optimizer = torch.optim.LBFGS([flat], max_iter=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        error = (flat * (normal @ flat - 2 * right)).sum()
        value = error + orthogonality * orthogonality_penalty(flat.view(shape))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return flat.detach()
