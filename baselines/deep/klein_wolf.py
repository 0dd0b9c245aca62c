"""Klein and Wolf's Deep Product Quantization (CVPR 2019, arXiv 1711.08589), which is not DPQ.

In each sub-space a layer of its own says which codeword an image takes; how near the codewords are plays no part. The
mixture of codewords by the layer's softmax ("soft") and the one codeword of its maximum ("hard", straight-through) are
both classified and both drawn to the centre of their class; Gini terms ask for all codewords over a batch and for few
of them in an image. Queries are soft, the database is hard. No code of the authors was found: sizes, start and the Gini
weights are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.deep.product import ProductMethod, mixture, part_products
from dpq.codes.additive import decode, encode, usable_embeddings
from dpq.errors import InputError
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Epoch, Fraction, Rate, Score, Weight, Width
from dpq.method.losses import classification_loss
from dpq.protocols.base import Split

SMALL = 2.0**-16  # of assignment logits beside an embedding: no digit of theirs is lost, and no distance counts them


@dataclass(frozen=True)
class KleinWolfConfig(Bounded):
    """Settings of Klein and Wolf's method.

    Attributes:
        centre: weight of the joint central loss; 0.1 was best in the paper.
        gini_batch: weight of the term that is low when a batch uses all codewords alike.
        gini_sample: weight of the term that is low when an image takes one codeword.
        codebook_learning_rate: of Adam, for the codebooks.
        feature_epochs: fraction of the epochs that train features alone, which are classified and centred in place of
            soft and hard embeddings; then codewords and assignment layers start from k-means.
        codes: of the assignment "layer", as the method has them, or of the "nearest" codeword to the soft embedding.
        score: rank by "l2" distance, or by "inner" product.
        embedding_dim: D, of all codewords of an image and of what the layers read; 0 takes the experiment's.
    """

    centre: Weight = 0.1
    gini_batch: Weight = 1e-3
    gini_sample: Weight = 1e-3
    codebook_learning_rate: Rate = 1e-3
    feature_epochs: Fraction = 0.5
    codes: Literal["layer", "nearest"] = "layer"
    score: Score = "l2"
    embedding_dim: Width = 0


class KleinWolf(ProductMethod):
    """Codewords by an assignment layer, learned from classes; one training per code length.

    Args:
        backbone: network with its embedding head, which each assignment layer reads its part of; no classifier.
        classes: number of classes L.
        config: objective.
        bits: code length.
        codebook_size: codewords per sub-space K.

    Raises:
        InputError: as for `ProductMethod`.
    """

    name = "klein-wolf"

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        config: KleinWolfConfig | None = None,
        *,
        bits: int = 32,
        codebook_size: int = 256,
    ) -> None:
        self.config = config or KleinWolfConfig()
        own = self.config
        super().__init__(backbone, bits, codebook_size, own.codebook_learning_rate, own.feature_epochs)
        self.weight = nn.Parameter(self.random(codebook_size))  # [M, K, D], of the assignment layers
        self.bias = nn.Parameter(torch.zeros(self.weight.shape[:2]))
        self._quantizes = True  # else `read` gives what the assignment layers read
        dim = self.mask.shape[1]
        self.classifier = nn.Linear(dim, classes)
        self.centres = nn.Parameter(torch.zeros(classes, dim))

    def layers(self) -> list[nn.Parameter]:
        """Assignment layers, the classifier of soft and hard embeddings, and the centres of classes."""
        return [self.weight, self.bias, *self.classifier.parameters(), self.centres]

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D + M K]: zero beside the logits, which embeddings have at their end."""
        levels, size, _ = self.codewords.shape
        return F.pad(super().codebooks, (0, levels * size))

    def features(self, epoch: Epoch) -> Tensor:
        """The backbone's embeddings [N, D] of the training images."""
        self._quantizes = False
        try:
            return super().features(epoch)
        finally:
            self._quantizes = True

    @torch.no_grad()
    def start(self, features: Tensor, seed: int) -> None:
        """Codewords from k-means, which layers assign as to Gaussians around them, of the variance that it left."""
        super().start(features, seed)
        words = self.blocks(self.codewords)
        left = (features - decode(encode(features, words), words)).square().mean(dim=0)
        variance = (self.mask @ left / self.mask.sum(dim=1)).clamp(min=1e-8)[:, None]  # [M, 1]
        self.weight.copy_(words / variance[:, :, None])
        self.bias.copy_(-words.square().sum(dim=2) / variance / 2)

    def assigned(self, embeddings: Tensor) -> Tensor:
        """Assignment logits [B, M, K] of the backbone's embeddings [B, D]."""
        return part_products(embeddings, self.blocks(self.weight)) + self.bias

    def read(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Soft embeddings with their assignment logits, scaled down, [B, D + M K]; and class logits [B, L]."""
        if not self._quantizes:
            return embeddings, self.classifier(embeddings)
        logits = self.assigned(embeddings)
        soft = mixture(logits.softmax(dim=2), self.blocks(self.codewords))
        return torch.cat([soft, SMALL * logits.flatten(1)], dim=1), self.classifier(soft)

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D + M K], on their device: the largest logits."""
        if self.config.codes == "nearest":
            return encode(embeddings, self.codebooks)
        x, (levels, size, dim) = usable_embeddings(embeddings, self.codebooks), self.codewords.shape
        return x[:, dim:].view(-1, levels, size).argmax(dim=2).to(torch.uint8)

    def terms(self, embeddings: Tensor, labels: Tensor, codes: bool) -> dict[str, Tensor]:
        """All terms of the backbone's embeddings [B, D] with labels [B, L]; these are soft and hard until codes start."""
        config, both, gini = self.config, (embeddings, embeddings), {}
        if codes:
            shares, words = self.assigned(embeddings).softmax(dim=2), self.blocks(self.codewords)
            both = mixture(shares, words), mixture(one_hot_straight_through(shares), words)
            batch, sample = gini_terms(shares)
            gini = {"gini batch": config.gini_batch * batch, "gini sample": -config.gini_sample * sample}
        soft, hard = (classification_loss(self.classifier(each), labels, multi_label=False) for each in both)
        centre = config.centre * joint_central_loss(*both, self.centres, labels)
        return {"soft": soft, "hard": hard, "centre": centre, **gini}


def one_hot_straight_through(shares: Tensor) -> Tensor:
    """One-hot [..., K] of the largest of shares [..., K], exactly; its gradient is that of the shares."""
    hard = F.one_hot(shares.argmax(dim=-1), shares.shape[-1]).to(shares.dtype)
    return hard + (shares - shares.detach())


def joint_central_loss(soft: Tensor, hard: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Mean of `||soft - o||^2 / 2 + ||hard - o||^2 / 2`, o the centre of the image's class; of images with a label.

    Args:
        soft: [B, D].
        hard: [B, D].
        centres: [L, D], learned: the same for both, so they draw one to the other.
        labels: [B, L] bool, at most one for each image.
    """
    own = label_tensor(labels, len(soft)).to(soft.dtype)
    known, target = own.sum(dim=1), own @ centres
    each = ((soft - target).square().sum(dim=1) + (hard - target).square().sum(dim=1)) / 2
    return (each * known).sum() / known.sum().clamp(min=1)


def gini_terms(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over sub-spaces of the squared mean shares, and of the mean squared shares (Klein and Wolf 2019).

    Both are from M / K to M: the first is M / K where a batch uses all codewords alike, and the second M where every image
    takes one. To be minimised and maximised.

    Args:
        shares: [B, M, K], of sum 1 over K.
    """
    return shares.mean(dim=0).square().sum(), shares.square().sum(dim=(1, 2)).mean()


def check_labels(train: Split, codebook_size: int) -> None:
    """Refuse several labels for an image, for which the paper says no centre.

    Raises:
        InputError: as said.
    """
    if several := int((train.labels.sum(dim=1) > 1).sum()):
        raise InputError(
            f"klein-wolf draws an image to the centre of its class, and {several} training images have several; leave "
            "it out of --method on this data"
        )


METHOD = MethodEntry(
    build=lambda context: KleinWolf(
        context.backbone(0, embedding_dim=context.config.embedding_dim, head="none"),
        context.classes,
        context.config,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="Klein-Wolf DPQ",
    progressive=False,
    config=KleinWolfConfig,
    check=check_labels,
    order=68,
    style=("#332288", "h"),
    ranges={
        "centre": (1e-3, 1.0, "log"),
        "gini_batch": (1e-4, 1.0, "log"),
        "gini_sample": (1e-4, 1.0, "log"),
        "codebook_learning_rate": (1e-4, 1e-1, "log"),
        "feature_epochs": (0.0, 0.75),
        "codes": ("layer", "nearest"),
        "score": ("inner", "l2"),
    },
)
