"""The loss terms of DPQ. Axes: B batch, D dimensions, L classes, M levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dpq.inputs.values import label_tensor

_NO_CLASS = -100


def adaptive_margin_loss(
    x: Tensor, label_vectors: Tensor, labels: Tensor, negatives: Literal["wrong", "others"] = "wrong"
) -> Tensor:
    """Adaptive margin loss L_S (Cao et al. 2017, DVSQ; used by Gao et al. 2019, Sec. 2.1).

    For every correct label i of an image and every negative label j, the image's cosine with label vector i
    has to exceed the one with j by the margin `1 - cos(v_i, v_j)`. The sum is divided by L times the number of
    correct labels in the batch.

    Args:
        x: [B, D] embeddings.
        label_vectors: [L, D].
        labels: [B, L] bool.
        negatives: "wrong" labels only (the papers' text) or all "others" (the released code, where the other
            correct labels of a multi-label image are pushed away too). The same on single-label data.

    Returns:
        Scalar.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    directions = F.normalize(label_vectors, dim=1)
    margins = 1 - directions @ directions.T  # [L, L]
    cosines = F.normalize(x, dim=1) @ directions.T  # [B, L]
    violations = (margins - cosines[:, :, None] + cosines[:, None, :]).clamp(min=0)  # [B, i, j]
    positive = label_tensor(labels, len(x), len(label_vectors)).to(x.dtype)
    negative = 1 - positive if negatives == "wrong" else torch.ones_like(positive)
    # j = i contributes max(0, 0) under "others" and is no negative under "wrong".
    total = torch.einsum("bi,bij,bj->", positive, violations, negative)
    return total / (positive.shape[1] * positive.sum().clamp(min=1))


def classification_loss(logits: Tensor, labels: Tensor, multi_label: bool, smoothing: float = 0.0) -> Tensor:
    """L_C: softmax cross-entropy, or with several labels per image the mean sigmoid cross-entropy over classes.

    It is a mean over the images that have a label: of the others nothing is known. 0 where none has.

    Args:
        logits: [B, L].
        labels: [B, L] bool.
        multi_label: whether images may carry several labels.
        smoothing: share of the targets that all classes have alike; of several labels, that lies at one half.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    labels = label_tensor(labels, *logits.shape)
    labelled = labels.any(dim=1)
    if multi_label:
        targets, share = labels.to(logits.dtype), labelled.to(logits.dtype)
        targets = targets * (1 - smoothing) + smoothing / 2
        loss = F.binary_cross_entropy_with_logits(logits, targets, share[:, None])
        return loss * (len(labels) / share.sum().clamp(min=1))  # times 1 where all have one
    classes = labels.int().argmax(dim=1).masked_fill(~labelled, _NO_CLASS)
    loss = F.cross_entropy(logits, classes, ignore_index=_NO_CLASS, label_smoothing=smoothing)
    return torch.where(labelled.any(), loss, torch.zeros_like(loss))


@dataclass(frozen=True)
class QuantizationTerms:
    """Scalars, mean over the batch (Gao et al. 2019, Sec. 2.3).

    Attributes:
        soft: sum over prefixes of the squared error of the soft sums.
        hard: sum over prefixes of the squared error of the hard sums.
        joint: squared distance between soft and hard sums.
    """

    soft: Tensor
    hard: Tensor
    joint: Tensor

    def weighted(self, tau: float, mu: float, nu: float, soft_terms: bool = True) -> dict[str, Tensor]:
        """The addends of L_Q = tau (L_soft + mu L_hard + nu L_joint), by name; the hard one alone if so asked."""
        hard = {"hard": tau * mu * self.hard}
        return {"soft": tau * self.soft, **hard, "joint": tau * nu * self.joint} if soft_terms else hard


def quantization_terms(
    x: Tensor,
    soft: Tensor,
    hard: Tensor,
    *,
    joint_levels: Literal["last", "every"] = "last",
    norm: Literal["sum", "mean"] = "sum",
) -> QuantizationTerms:
    """Soft and hard distortion over all prefixes, and the term that pulls the soft sums to the hard ones.

    Args:
        x: [B, D].
        soft: [M, B, D] partial sums S^l.
        hard: [M, B, D] partial sums H^l.
        joint_levels: on which levels S and H are compared.
        norm: squared norms as a sum over D, or divided by D.
    """

    def squared(difference: Tensor) -> Tensor:  # [m, B, D] -> scalar: mean over B, sum over levels
        per_image = difference.square().sum(dim=2) if norm == "sum" else difference.square().mean(dim=2)
        return per_image.mean(dim=1).sum()

    gap = soft - hard if joint_levels == "every" else (soft - hard)[-1:]
    return QuantizationTerms(squared(x - soft), squared(x - hard), squared(gap))
