"""Signs of a training that went wrong without a number that is not finite; each is one line of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

COLLAPSED = 1e-3  # of the mean squared norm: embeddings that all but agree
RANK_ONE = 0.999  # of the variance along one direction
FEW_CODEWORDS = 0.05  # of a level's codebook in use
SPIKE = 10.0  # times the mean of the epoch
RISE = 1.5  # times the epoch before


def embedding_signs(embeddings: Tensor) -> list[str]:
    """Whether embeddings [N, D] have collapsed to a point or a line.

    A point has no variance beside its squared norm; on a line one direction has all of the variance.
    """
    if len(embeddings) < 2:
        return []
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    variances = torch.linalg.eigvalsh(centred.T @ centred / len(centred)).clamp(min=0)
    total, norm = float(variances.sum()), float(embeddings.double().square().sum(dim=1).mean())
    if total <= COLLAPSED * norm:
        return [f"embeddings collapsed: their variance is {total / norm if norm else 0.0:.1e} of their squared norm"]
    if embeddings.shape[1] > 1 and float(variances[-1]) >= RANK_ONE * total:
        return [
            f"embeddings collapsed to a line: {float(variances[-1]) / total:.2%} of their variance has one direction"
        ]
    return []


def codeword_signs(used: Sequence[int], codebook_size: int, images: int) -> list[str]:
    """Levels with few codewords in use.

    Args:
        used: codewords in use, by level.
        codebook_size: K.
        images: that were encoded; fewer than K cannot use all codewords.
    """
    possible = min(codebook_size, images)
    return [
        f"level {level} uses {count} of {codebook_size} codewords"
        for level, count in enumerate(used, 1)
        if count <= max(1, FEW_CODEWORDS * possible)
    ]


def code_signs(embeddings: Tensor, codes: Tensor, codebook_size: int) -> list[str]:
    """Signs of a trained method, of what it makes of images.

    Args:
        embeddings: [N, D].
        codes: [N, M] integer, of these embeddings.
        codebook_size: K.
    """
    used = [len(level.unique()) for level in codes.T]
    return embedding_signs(embeddings) + codeword_signs(used, codebook_size, len(codes))


def loss_signs(means: Mapping[str, float], peak: float, before: Mapping[str, Any] | None) -> list[str]:
    """Spikes within an epoch, and a rise over the one before.

    Args:
        means: of every loss term over the epoch.
        peak: largest loss of a step.
        before: report of the epoch before; terms that it has not are not compared.
    """
    signs, mean = [], sum(means.values())
    if peak > SPIKE * mean > 0:
        signs.append(f"the loss of a step rose to {peak:.3g}, {peak / mean:.0f} times the epoch's mean")
    shared = [name for name in means if before is not None and name in before]
    if before is not None and shared:
        now, then = (sum(float(report[name]) for name in shared) for report in (means, before))
        if now > RISE * then > 0:
            signs.append(f"the loss rose from {then:.3g} to {now:.3g}")
    return signs


def one_class(labels: Tensor) -> Tensor:
    """Whether all images of a batch, labels [B, L] bool, have the same labels: a scalar bool on their device."""
    return (labels == labels[:1]).all()


def batch_signs(count: int, steps: int) -> list[str]:
    """Batches of one class, which teach no method to tell classes apart."""
    return [f"{count} of {steps} batches were of one class"] if count else []
