"""Iterated conditional modes: codes of additive codebooks, improved one level at a time.

Axes: N images, B images of a block, D dimensions, M levels, K codewords.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dpq.codes.additive import (
    centred,
    check_enough,
    coded_at_once,
    decode,
    encode,
    nearest,
    usable_codebooks,
    usable_codes,
    usable_embeddings,
)
from dpq.codes.lloyd import lloyd_step
from dpq.errors import InputError
from dpq.inputs.values import Numbers, whole_number


@torch.no_grad()
def icm_encode(x: Numbers, codebooks: Numbers, sweeps: int = 3, start: Numbers | None = None) -> Tensor:
    """Codes that lower `||x - sum_m C_m[b_m]||^2` by exact minimisation over one level after the other.

    No step raises the objective, so the codes are never worse than those it starts from (Besag 1986; Babenko and
    Lempitsky, CVPR 2014, for additive codes).

    Args:
        x: [N, D] float.
        codebooks: [M, K, D] float.
        sweeps: passes over all levels.
        start: codes [N, M] to improve; None takes the greedy ones.

    Returns:
        [N, M] uint8.

    Raises:
        InputError: the dimension differs from the codebooks', an embedding is not finite, or codes do not fit.
    """
    sweeps, codebooks = whole_number("sweeps", sweeps, 0), usable_codebooks(codebooks)
    x = usable_embeddings(x, codebooks)
    codes = (
        encode(x, codebooks) if start is None else usable_codes(start, codebooks.shape[1]).to(torch.uint8, copy=True)
    )
    if codes.shape != (len(x), len(codebooks)):
        raise InputError(f"codes to start from are [{len(x)}, {len(codebooks)}]; got {list(codes.shape)}")
    for block, unary, products in cost_tables(x, codebooks):
        codes[block] = _sweep(unary, products, codes[block].long(), sweeps).to(torch.uint8)
    return codes


@torch.no_grad()
def local_search(x: Numbers, codebooks: Numbers, rounds: int = 16, moved: int = 4, sweeps: int = 4) -> Tensor:
    """Codes by iterated local search (Martinez et al., ECCV 2016): `icm_encode` from disturbed codes, again and again.

    In every round some levels of each code move on to another codeword, sweeps follow, and a code stays that has become
    better. Which levels, and by how many codewords, is the same for all embeddings and in all calls, so the code of an
    image is a function of its embedding; in Faiss it depends on the image's place among the others.

    Args:
        x: [N, D] float.
        codebooks: [M, K, D] float.
        rounds: of disturbance; 0 is `icm_encode`.
        moved: levels that are disturbed in a round, at most.
        sweeps: of `icm_encode` over all levels, in each round and before the first.

    Returns:
        [N, M] uint8.

    Raises:
        InputError: as for `icm_encode`.
    """
    rounds, moved = whole_number("rounds", rounds, 0), whole_number("moved", moved)
    codebooks = usable_codebooks(codebooks)
    codes = icm_encode(x, codebooks, sweeps)
    levels, size, _ = codebooks.shape
    generator = torch.Generator().manual_seed(0)
    draws = []  # levels, and by how many codewords each moves on
    for _ in range(rounds):
        steps = torch.randint(1, size, (levels,), generator=generator).tolist()
        draws.append([(level, steps[level]) for level in torch.randperm(levels, generator=generator)[:moved].tolist()])
    for block, unary, products in cost_tables(usable_embeddings(x, codebooks), codebooks):
        best = codes[block].long()
        least = _cost(unary, products, best)
        for draw in draws:
            tried = best.clone()
            for level, step in draw:
                tried[:, level] = (tried[:, level] + step) % size
            tried = _sweep(unary, products, tried, sweeps)
            cost = _cost(unary, products, tried)
            best = torch.where((cost < least)[:, None], tried, best)
            least = torch.minimum(cost, least)
        codes[block] = best.to(torch.uint8)
    return codes


def cost_tables(x: Tensor, codebooks: Tensor, rows: int = 0) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """What codes cost, block by block: half of the objective, less ||x||^2 / 2, is a sum of entries of two tables.

    Args:
        x: [N, D] float, finite.
        codebooks: [M, K, D] float.
        rows: of a block; 0 for as many as are coded at once.

    Yields:
        Which rows, B of them; the own cost of each codeword, [M, B, K]; and the products of codewords, [M, M, K, K],
        of which each pair of levels adds one.
    """
    x, codebooks = centred(x, codebooks)
    norms = codebooks.square().sum(dim=2)  # [M, K]
    products = torch.einsum("mkd,nld->mnkl", codebooks, codebooks)
    step = rows or coded_at_once(x.device)
    for first in range(0, len(x), step):
        block = slice(first, first + step)
        yield block, 0.5 * norms[:, None] - torch.einsum("bd,mkd->mbk", x[block], codebooks), products


def _cost(unary: Tensor, products: Tensor, codes: Tensor) -> Tensor:
    """Of whole codes [B, M], [B]."""
    total = unary[0].gather(1, codes[:, :1])[:, 0]
    for level in range(1, len(unary)):
        total = total + unary[level].gather(1, codes[:, level, None])[:, 0]
        for earlier in range(level):
            total += products[earlier, level, codes[:, earlier], codes[:, level]]
    return total


def _sweep(unary: Tensor, products: Tensor, codes: Tensor, sweeps: int) -> Tensor:
    levels = len(unary)
    for _ in range(sweeps):
        before = codes.clone()
        for level in range(levels):
            cost = unary[level].clone()  # [B, K]
            for other in range(levels):
                if other != level:
                    cost += products[other, level][codes[:, other]]
            best = cost.argmin(dim=1, keepdim=True)
            kept = codes[:, level, None]
            # Strictly better only: rounding and ties never move a code.
            better = cost.gather(1, best) < cost.gather(1, kept)
            codes[:, level] = torch.where(better, best, kept)[:, 0]
        if torch.equal(before, codes):
            break
    return codes


@torch.no_grad()
def use_every_codeword(x: Numbers, codebooks: Numbers, sweeps: int = 3, rounds: int = 20) -> Tensor:
    """Codebooks of which `icm_encode` takes every codeword for some image, as far as there are images for it.

    What the other levels leave of the images is the data of a k-means that the level's codewords are the centres of. A
    level with unused ones makes an iteration of it, in which these take residuals that are far from every codeword.

    Args:
        x: [N, D] float.
        codebooks: [M, K, D] float, K at most N.
        sweeps: as for `icm_encode`.
        rounds: over all levels, at most; as codes of other levels follow, one alone may leave some unused again.

    Returns:
        [M, K, D]; as given where all are in use.

    Raises:
        InputError: as for `icm_encode`; fewer images than codewords.
    """
    codebooks = usable_codebooks(codebooks).clone()
    size = codebooks.shape[1]
    x = usable_embeddings(x, codebooks)
    check_enough(len(x), size)
    for _ in range(whole_number("rounds", rounds, 0)):
        codes = icm_encode(x, codebooks, sweeps)
        counts = torch.stack([torch.bincount(level.long(), minlength=size) for level in codes.T])
        unused = (counts == 0).any(dim=1).tolist()
        if not any(unused):
            break
        rest = x - decode(codes, codebooks)
        for codebook, code, some in zip(codebooks, codes.T.long(), unused, strict=True):
            residual = rest + codebook[code]
            if some:
                codebook.copy_(lloyd_step(residual[None], codebook[None])[0])
                code = nearest(residual, codebook, "l2")
            rest = residual - codebook[code]
    return codebooks
