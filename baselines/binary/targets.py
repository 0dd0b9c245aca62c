"""The vectors of +1 and -1 that classes aim at, as far from each other as can be. L classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dpq.errors import InputError

Targets = Literal["hadamard", "maxhd", "bernoulli"]

_ALL = 12  # up to so many bits, every sign vector is a candidate
_DRAWN = 256  # of longer ones so many, for each class


def sign_targets(classes: int, bits: int, kind: Targets = "hadamard") -> Tensor:
    """A vector of +1 and -1 for each class, [L, bits]; what is random is of torch's global generator.

    Args:
        classes: L.
        bits: of a code.
        kind: "hadamard": the first rows of H, then of -H, for a Hadamard matrix H of this order (Yuan et al.
            2020); where there is none, or too few rows, as "maxhd". "maxhd": one after the other, of balanced
            codes that are drawn (of all codes, where these are few) that which differs most from the nearest before.
            "bernoulli": independent fair signs, by which two classes may be the same.

    Raises:
        InputError: more classes than there are different codes.
    """
    if kind == "bernoulli":
        return torch.randint(2, (classes, bits)) * 2.0 - 1
    if classes > 2**bits:
        raise InputError(f"{classes} classes need different targets, and {bits} bits have {2**bits}; give longer codes")
    matrix = hadamard(bits) if kind == "hadamard" else None
    chosen = torch.empty(0, bits) if matrix is None else torch.cat([matrix, -matrix])[:classes]
    while len(chosen) < classes:
        candidates = _candidates(bits)
        nearest = (candidates @ chosen.T).amax(dim=1) if len(chosen) else torch.zeros(len(candidates))
        chosen = torch.cat([chosen, candidates[nearest.argmin()][None]])
    return chosen


def _candidates(bits: int) -> Tensor:
    """Sign vectors [n, bits] in random order, balanced ones first."""
    if bits > _ALL:
        return (torch.rand(_DRAWN, bits).argsort(dim=1) < bits // 2) * 2.0 - 1
    every = (torch.randperm(2**bits)[:, None] >> torch.arange(bits) & 1) * 2.0 - 1
    return every[every.sum(dim=1).abs().argsort(stable=True)]


def hadamard(order: int) -> Tensor | None:
    """A matrix [order, order] of +1 and -1 with orthogonal rows: Sylvester's, Paley's, or one doubled; or None.

    Doubled it is [[H, H], [-H, H]], so that the rows of H and of -H are the first halves of its rows.
    """
    if order == 1:
        return torch.ones(1, 1)
    if order % 2 == 0 and (half := hadamard(order // 2)) is not None:
        return torch.cat([torch.cat([half, half], dim=1), torch.cat([-half, half], dim=1)])
    prime = order - 1
    if order % 4 or any(prime % factor == 0 for factor in range(2, prime)):
        return None
    squares, place = {i * i % prime for i in range(prime)}, torch.arange(prime)
    residues = torch.tensor([1.0 if i in squares else -1.0 for i in range(prime)])
    matrix = torch.ones(order, order)
    matrix[1:, 0] = -1
    matrix[1:, 1:] = residues[(place - place[:, None]) % prime]
    return matrix
