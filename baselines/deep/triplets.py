"""Triplet losses that no one method owns."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.deep.dtq import squared_distances
from dpq.inputs.values import label_tensor


def semi_hard_triplet_loss(x: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Triplet loss of unit vectors with semi-hard negatives (Schroff et al., CVPR 2015), also of several labels.

    Of an anchor and an image that shares a label with it, the negative is the nearest of those farther away than that
    image, or the farthest of all if none is. An image without a label is nobody's negative: nothing is known of it.

    Args:
        x: [B, D], of any length.
        labels: [B, L] bool.
        margin: between squared distances, which are at most 4.

    Returns:
        Mean of `max(0, margin + d_ap - d_an)` over the ordered pairs (a, p) that have a negative; 0 without any.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    labels = label_tensor(labels, len(x))
    member = labels.to(x.dtype)
    similar = member @ member.T > 0  # [B, B]
    distances = squared_distances(F.normalize(x, dim=1))
    negative = ~similar & labels.any(dim=1)  # [anchor, negative]
    farther = negative[:, None] & (distances[:, None] > distances[:, :, None])  # [anchor, positive, negative]
    nearest = distances[:, None].masked_fill(~farther, torch.inf).amin(dim=2)
    farthest = distances.masked_fill(~negative, 0.0).amax(dim=1, keepdim=True)
    chosen = torch.where(farther.any(dim=2), nearest, farthest)
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    pairs = similar & ~itself & negative.any(dim=1, keepdim=True)
    losses = (margin + distances - chosen).clamp(min=0).masked_fill(~pairs, 0.0)
    return losses.sum() / pairs.sum().clamp(min=1)
