"""Generalized Product Quantization, its supervised part (Jang and Cho, CVPR 2020).

Objective: the N-pair product quantization loss between embeddings of unit parts and their soft quantization, plus
`classification` times a cosine cross-entropy with prototypes of the classes in each part. Codewords are mixtures of
these prototypes. Left out is what needs unlabelled images, subspace entropy mini-max, and the penalty on lengths,
which is a constant where parts have unit length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.deep.product import ProductConfig, ProductMethod, mixture, part_products, unit_parts
from dpq.codes.additive import encode, levels_for
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Count, Score, Weight


@dataclass(frozen=True)
class GPQConfig(ProductConfig):
    """Settings of GPQ; the numbers of its released code.

    Attributes:
        alpha: sharpness of soft quantization, times cosines.
        classification: weight of the prototypes' cross-entropy.
        beta: length of embedding and prototype parts in that loss.
        part_width: dimensions of a part; there are as many parts as levels.
        search: queries and codewords as "trained", of unit parts and mixtures of prototypes; or as "released": parts of
            any length, and the plain codewords, chosen by cosine.
        score: rank by "inner" product, summed over the parts, or by "l2" distance.
    """

    alpha: Weight = 20.0
    classification: Weight = 0.1
    beta: Weight = 4.0
    part_width: Count = 12
    search: Literal["trained", "released"] = "trained"
    score: Score = "inner"


class GPQ(ProductMethod):
    """Product quantization by cosine, with prototypes of classes; arguments as for `ProductMethod`."""

    name = "gpq"
    config: GPQConfig

    def __init__(self, backbone: Backbone, config: GPQConfig, *, bits: int, codebook_size: int, classes: int) -> None:
        super().__init__(backbone, config, bits=bits, codebook_size=codebook_size, classes=classes)
        self.prototypes = nn.Parameter(self.random(classes))  # [M, L, D]

    def layers(self) -> list[nn.Parameter]:
        """The prototypes."""
        return [self.prototypes]

    def unit(self, vectors: Tensor) -> Tensor:
        """Vectors [M, K, D] of unit length, zero outside their part."""
        return F.normalize(self.blocks(vectors), dim=2)

    def mixed(self) -> Tensor:
        """The codewords of training [M, K, D]: soft quantizations of the plain ones by the prototypes."""
        prototypes = self.unit(self.prototypes)
        cosines = self.unit(self.codewords) @ prototypes.mT  # [M, K, L]
        return F.normalize(torch.softmax(self.config.alpha * cosines, dim=2) @ prototypes, dim=2)

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D], those of search."""
        return super().codebooks if self.config.search == "released" else self.mixed().detach()

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D]: in each part the codeword of the largest cosine."""
        return encode(embeddings, self.codebooks, "cosine")

    def read(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D] of unit parts, or as search of the released code has them, and class logits [B, L]."""
        x = unit_parts(embeddings, self.mask)
        return embeddings if self.config.search == "released" else x, self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """Class logits [B, L] of x [B, D] of unit parts: beta^2 times the mean cosine with the prototypes' parts."""
        return self.config.beta**2 * part_products(x, self.unit(self.prototypes)).mean(dim=1)

    def soft(self, x: Tensor) -> Tensor:
        """Soft quantization [B, D] of x [B, D], both of unit parts."""
        words = self.mixed()
        shares = torch.softmax(self.config.alpha * part_products(x, words), dim=2)
        return unit_parts(mixture(shares, words), self.mask)

    def terms(self, embeddings: Tensor, labels: Tensor, codes: bool) -> dict[str, Tensor]:
        """Both losses of the backbone's embeddings [B, D] with labels [B, L]; all pairs are real until codes start."""
        x, labels = unit_parts(embeddings, self.mask), label_tensor(labels, len(embeddings))
        classification = self.config.classification * soft_cross_entropy(self.logits(x), labels)
        return {"n-pair": n_pair_loss(x, self.soft(x) if codes else x, labels), "classification": classification}


def n_pair_loss(x: Tensor, quantized: Tensor, labels: Tensor) -> Tensor:
    """N-pair product quantization loss: each image has to pick, by inner product, the quantized images of its labels.

    Args:
        x: [B, D].
        quantized: [B, D], of the same images.
        labels: [B, L] bool. All images that share a label with an image, itself among them, are its targets alike;
            images without a label are nobody's choice and make none.

    Returns:
        Mean cross-entropy of `softmax_j(<x_i, q_j>)` with the targets; 0 where no image has a label.
    """
    shown = labels.to(x.dtype)
    unknown = torch.finfo(x.dtype).min / 2
    return soft_cross_entropy((x @ quantized.T).masked_fill(~labels.any(dim=1), unknown), shown @ shown.T > 0)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits [B, C] with all targets [B, C] bool of a row alike; rows without do not count."""
    count = targets.sum(dim=1)
    losses = logits.logsumexp(dim=1) - (targets * logits).sum(dim=1) / count.clamp(min=1)
    return (losses * (count > 0)).sum() / (count > 0).sum().clamp(min=1)


METHOD = MethodEntry(
    build=lambda context: GPQ.of(context, context.config.part_width * levels_for(context.bits, context.codebook_size)),
    title="GPQ (supervised)",
    progressive=False,
    config=GPQConfig,
    order=69,
    style=("#44AA99", "s"),
    ranges={
        "alpha": (1.0, 80.0, "log"),
        "classification": (0.01, 1.0, "log"),
        "beta": (1.0, 8.0, "log"),
        "codebook_learning_rate": (1e-4, 1e-1, "log"),
        "feature_epochs": (0.25, 0.75),
        "score": ("inner", "l2"),
    },
)
