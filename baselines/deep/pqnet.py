"""Product Quantization Network (Yu, Yuan, Fang and Jin, ECCV 2018).

Sub-vectors are quantized softly, `s_m = sum_k softmax_k(-alpha ||x_m - c_mk||^2) c_mk`, which tends to the nearest
codeword as alpha grows, so codewords and network learn by one gradient. Triplets are asymmetric as search is: the
anchor is real, positive and negative are quantized. Their exact form was not seen: `asymmetric_triplet_loss` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional as F

from baselines.deep.product import ProductConfig, ProductMethod, mixture, part_products, unit_parts
from dpq.inputs.values import label_tensor
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Score, Weight, Width


@dataclass(frozen=True)
class PQNetConfig(ProductConfig):
    """Settings of PQNet.

    Attributes:
        alpha: sharpness of the soft quantization; the paper finds 1 to 80 stable and 1 too soft.
        margin: between inner products of an anchor with its negative and its positive.
        unit_parts: sub-vectors are scaled to unit length; else they are the tanh of the other methods.
        score: rank by "inner" product, which the triplets are made of, or by "l2" distance.
        embedding_dim: D; 0 takes the experiment's.
    """

    alpha: Weight = 10.0
    margin: Annotated[float, Interval(ge=-1e3, le=1e3)] = 0.0
    unit_parts: bool = True
    score: Score = "inner"
    embedding_dim: Width = 0


class PQNet(ProductMethod):
    """Soft product quantization and asymmetric triplets; arguments as for `ProductMethod`."""

    name = "pqnet"
    config: PQNetConfig

    def read(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D], of unit parts where so asked, and no logits."""
        return unit_parts(embeddings, self.mask) if self.config.unit_parts else embeddings, embeddings[:, :0]

    def terms(self, embeddings: Tensor, labels: Tensor, codes: bool) -> dict[str, Tensor]:
        """The triplet loss of the backbone's embeddings [B, D], all real until codes start, with labels [B, L]."""
        x = self.read(embeddings)[0]
        quantized = soft_quantized(x, self.blocks(self.codewords), self.config.alpha) if codes else x
        return {"triplet": asymmetric_triplet_loss(x, quantized, labels, self.config.margin)}


def soft_quantized(x: Tensor, codebooks: Tensor, alpha: float) -> Tensor:
    """Soft product quantization (Yu et al. 2018): each part as the mean of its codewords by how near they are.

    Args:
        x: [B, D].
        codebooks: [M, K, D], zero outside the sub-space of each level.
        alpha: of `softmax_k(-alpha ||x_m - c_mk||^2)`; the larger, the nearer to the nearest codeword.

    Returns:
        [B, D].
    """
    fits = 2 * part_products(x, codebooks) - codebooks.square().sum(dim=2)  # less ||x_m||^2, which all share
    return mixture(torch.softmax(alpha * fits, dim=2), codebooks)


def asymmetric_triplet_loss(x: Tensor, quantized: Tensor, labels: Tensor, margin: float = 0.0) -> Tensor:
    """Mean of `softplus(margin + <x_a, s_n> - <x_a, s_p>)` over all triplets of a batch; 0 without any.

    It falls with `<x_a, s_p> - <x_a, s_n>` as the paper's does; form and choice of triplets are ours. An image without
    a label is in no triplet: nothing is known of it.

    Args:
        x: [B, D] embeddings of the anchors.
        quantized: [B, D] s, of positives and negatives.
        labels: [B, L] bool; images that share a label are positives of each other.
        margin: see above.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    labels = label_tensor(labels, len(x))
    shown = labels.to(x.dtype)
    similar = shown @ shown.T > 0  # [B, B]
    positive = similar & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    labelled = labels.any(dim=1)
    negative = ~similar & labelled & labelled[:, None]
    products = x @ quantized.T
    losses = F.softplus(margin + products[:, None, :] - products[:, :, None])  # [anchor, positive, negative]
    triplets = positive[:, :, None] & negative[:, None, :]
    return (losses * triplets).sum() / triplets.sum().clamp(min=1)


METHOD = MethodEntry(
    build=lambda context: PQNet.of(
        context, context.config.embedding_dim, "none" if context.config.unit_parts else "tanh"
    ),
    title="PQNet",
    progressive=False,
    config=PQNetConfig,
    order=64,
    style=("#882255", "X"),
    ranges={
        "alpha": (1.0, 80.0, "log"),
        "margin": (0.0, 1.0),
        "unit_parts": (True, False),
        "codebook_learning_rate": (1e-4, 1e-1, "log"),
        "feature_epochs": (0.25, 0.75),
        "score": ("inner", "l2"),
    },
)
