"""Generalized Product Quantization, its supervised part (Jang and Cho, CVPR 2020).

Objective: the N-pair product quantization loss between embeddings of unit parts and their soft quantization, plus
`classification` times cosine cross-entropy with prototypes of the classes in each part. Codewords are mixtures of
these prototypes. Left out is what needs unlabelled images: subspace entropy mini-max. So is the penalty on lengths,
which is a constant where parts have unit length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.deep.product import ProductMethod, mixture, part_products, unit_parts
from dpq.codes.additive import encode, levels_for
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Count, Fraction, Rate, Score, Weight


@dataclass(frozen=True)
class GPQConfig(Bounded):
    """Settings of GPQ; numbers are those of its released code.

    Attributes:
        alpha: sharpness of the soft quantization, times cosines.
        classification: weight of the prototypes' cross-entropy.
        beta: length of embedding and prototype parts in that loss.
        part_width: dimensions of a part; there are as many parts as levels.
        codebook_learning_rate: of Adam, for the codebooks.
        feature_epochs: fraction of the epochs that train features alone, by the same losses without quantization.
        search: queries and codewords of search are those of training, unit parts and unit mixtures of prototypes; or as
            in the released code: parts of any length, the plain codewords, chosen by cosine.
        score: rank by "inner" product, summed over the parts, or by "l2" distance.
    """

    alpha: Weight = 20.0
    classification: Weight = 0.1
    beta: Weight = 4.0
    part_width: Count = 12
    codebook_learning_rate: Rate = 1e-3
    feature_epochs: Fraction = 0.5
    search: Literal["trained", "released"] = "trained"
    score: Score = "inner"


class GPQ(ProductMethod):
    """Product quantization by cosine, with prototypes of classes; one training per code length.

    Args:
        backbone: network with its embedding head, linear; a classifier is not used.
        classes: number of classes L.
        config: objective.
        bits: code length.
        codebook_size: codewords per part K.

    Raises:
        InputError: as for `ProductMethod`.
    """

    name = "gpq"

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        config: GPQConfig | None = None,
        *,
        bits: int = 32,
        codebook_size: int = 256,
    ) -> None:
        self.config = config or GPQConfig()
        own = self.config
        super().__init__(backbone, bits, codebook_size, own.codebook_learning_rate, own.feature_epochs)
        self.prototypes = nn.Parameter(self.random(classes))  # [M, L, D]

    def layers(self) -> list[nn.Parameter]:
        """The prototypes."""
        return [self.prototypes]

    def mixed(self) -> Tensor:
        """The codewords of training [M, K, D]: soft quantizations of the plain ones by the prototypes."""
        words, prototypes = (F.normalize(self.blocks(each), dim=2) for each in (self.codewords, self.prototypes))
        shares = torch.softmax(self.config.alpha * words @ prototypes.mT, dim=2)  # [M, K, L]
        return F.normalize(shares @ prototypes, dim=2)

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
        prototypes = F.normalize(self.blocks(self.prototypes), dim=2)
        return self.config.beta**2 * part_products(x, prototypes).mean(dim=1)

    def soft(self, x: Tensor) -> Tensor:
        """Soft quantization [B, D] of x [B, D], both of unit parts."""
        words = self.mixed()
        shares = torch.softmax(self.config.alpha * part_products(x, words), dim=2)
        return unit_parts(mixture(shares, words), self.mask)

    def terms(self, embeddings: Tensor, labels: Tensor, codes: bool) -> dict[str, Tensor]:
        """Both losses of the backbone's embeddings [B, D] with labels [B, L]."""
        x, labels = unit_parts(embeddings, self.mask), label_tensor(labels, len(embeddings))
        classification = soft_cross_entropy(self.logits(x), labels.to(x.dtype))
        return {
            "n-pair": n_pair_loss(x, self.soft(x) if codes else x, labels),
            "classification": self.config.classification * classification,
        }


def n_pair_loss(x: Tensor, quantized: Tensor, labels: Tensor) -> Tensor:
    """N-pair product quantization loss: each image has to pick, by inner product, the quantized images of its labels.

    Args:
        x: [B, D].
        quantized: [B, D], of the same images.
        labels: [B, L] bool. The targets of an image are the same for all images that share a label with it, itself among
            them; images without a label are nobody's choice and make none.

    Returns:
        Mean cross-entropy of `softmax_j(<x_i, q_j>)` with the targets; 0 where no image has a label.
    """
    shown = labels.to(x.dtype)
    similar = (shown @ shown.T > 0).to(x.dtype)
    unknown = torch.finfo(x.dtype).min / 2
    return soft_cross_entropy((x @ quantized.T).masked_fill(~labels.any(dim=1), unknown), similar)


def soft_cross_entropy(logits: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy of logits [B, C] with targets in proportion to weights [B, C]; rows of zeros do not count."""
    total = weights.sum(dim=1)
    losses = (logits.logsumexp(dim=1) - (weights * logits).sum(dim=1) / total.clamp(min=1)) * (total > 0)
    return losses.sum() / (total > 0).sum().clamp(min=1)


METHOD = MethodEntry(
    build=lambda context: GPQ(
        context.backbone(
            0,
            embedding_dim=context.config.part_width * levels_for(context.bits, context.codebook_size),
            head="none",
        ),
        context.classes,
        context.config,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="GPQ (supervised)",
    progressive=False,
    config=GPQConfig,
    order=69,
    style=("#44AA99", ">"),
    ranges={
        "alpha": (1.0, 80.0, "log"),
        "classification": (0.01, 1.0, "log"),
        "beta": (1.0, 8.0, "log"),
        "codebook_learning_rate": (1e-4, 1e-1, "log"),
        "feature_epochs": (0.0, 0.75),
        "score": ("inner", "l2"),
    },
)
