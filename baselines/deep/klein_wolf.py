"""Klein and Wolf's Deep Product Quantization (CVPR 2019, arXiv 1711.08589), which is not DPQ.

In each sub-space a layer of its own says which codeword an image takes; how near the codewords are plays no part. The
mixture of codewords by the layer's softmax ("soft") and the codeword of its maximum ("hard", straight-through) are both
classified and both drawn to the centre of their class; Gini terms ask for all codewords over a batch and for few of
them in an image. Queries are soft, the database is hard. No code of the authors was found: sizes, start and the weights
of the Gini terms are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.deep.product import ProductConfig, ProductMethod, mixture, part_products
from baselines.one_label import refuse_several_labels
from dpq.codes.additive import decode, encode, usable_embeddings
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Epoch, Score, Weight, Width
from dpq.method.losses import classification_loss

SMALL = 2.0**-16  # of assignment logits beside an embedding: they keep their digits, and no distance sees them


@dataclass(frozen=True)
class KleinWolfConfig(ProductConfig):
    """Settings of Klein and Wolf's method.

    Attributes:
        centre: weight of the joint central loss; 0.1 was best in the paper.
        gini_batch: weight of the term that is low when a batch uses all codewords alike.
        gini_sample: weight of the term that is low when an image takes one codeword.
        codes: of the assignment "layer", as the method has them, or of the "nearest" codeword to the soft embedding.
        score: rank by "l2" distance, or by "inner" product.
        embedding_dim: D, of all codewords of an image and of what the layers read; 0 takes the experiment's.
    """

    centre: Weight = 0.1
    gini_batch: Weight = 1e-3
    gini_sample: Weight = 1e-3
    codes: Literal["layer", "nearest"] = "layer"
    score: Score = "l2"
    embedding_dim: Width = 0


class KleinWolf(ProductMethod):
    """Codewords by assignment layers, learned from classes; arguments as for `ProductMethod`."""

    name = "klein-wolf"
    config: KleinWolfConfig

    def __init__(
        self, backbone: Backbone, config: KleinWolfConfig, *, bits: int, codebook_size: int, classes: int
    ) -> None:
        super().__init__(backbone, config, bits=bits, codebook_size=codebook_size, classes=classes)
        self.weight = nn.Parameter(self.random(codebook_size))  # [M, K, D], of the assignment layers
        self.bias = nn.Parameter(torch.zeros(self.weight.shape[:2]))
        self.classifier = nn.Linear(self.mask.shape[1], classes)  # of soft and hard embeddings
        self.centres = nn.Parameter(torch.zeros_like(self.classifier.weight))
        self._quantizes = True  # else `read` gives what the assignment layers read

    def layers(self) -> list[nn.Parameter]:
        """Assignment layers, classifier and centres."""
        return [self.weight, self.bias, *self.classifier.parameters(), self.centres]

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D + M K]: zero beside the logits, which embeddings have at their end."""
        return F.pad(super().codebooks, (0, self.bias.numel()))

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
        x = usable_embeddings(embeddings, self.codebooks)[:, self.mask.shape[1] :]
        return x.view(-1, *self.bias.shape).argmax(dim=2).to(torch.uint8)

    def terms(self, embeddings: Tensor, labels: Tensor, codes: bool) -> dict[str, Tensor]:
        """All terms of the backbone's embeddings [B, D], which are soft and hard until codes start; labels [B, L]."""
        config, both, gini = self.config, (embeddings, embeddings), {}
        if codes:
            shares, words = self.assigned(embeddings).softmax(dim=2), self.blocks(self.codewords)
            both = mixture(shares, words), mixture(straight_through(shares), words)
            batch, sample = gini_terms(shares)
            gini = {"gini batch": config.gini_batch * batch, "gini sample": -config.gini_sample * sample}
        soft, hard = (classification_loss(self.classifier(each), labels, multi_label=False) for each in both)
        centre = config.centre * joint_central_loss(*both, self.centres, labels)
        return {"soft": soft, "hard": hard, "centre": centre, **gini}


def straight_through(shares: Tensor) -> Tensor:
    """One-hot [..., K] of the largest of shares [..., K], exactly; its gradient is that of the shares."""
    return F.one_hot(shares.argmax(dim=-1), shares.shape[-1]) + (shares - shares.detach())


def joint_central_loss(soft: Tensor, hard: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Mean of `||soft - o||^2 / 2 + ||hard - o||^2 / 2`, o the learned centre of the class; of images with a label.

    Args:
        soft: [B, D].
        hard: [B, D], of the same centres, which so draw one to the other.
        centres: [L, D].
        labels: [B, L] bool, at most one for each image.
    """
    own = label_tensor(labels, len(soft)).to(soft.dtype)
    known, target = own.sum(dim=1), own @ centres
    each = ((soft - target).square().sum(dim=1) + (hard - target).square().sum(dim=1)) / 2
    return (each * known).sum() / known.sum().clamp(min=1)


def gini_terms(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over sub-spaces of the squared mean shares, and of the mean squared shares (Klein and Wolf 2019).

    From M / K to M: the first is M / K where a batch uses all codewords alike, the second M where images take one each.

    Args:
        shares: [B, M, K], of sum 1 over K.
    """
    return shares.mean(dim=0).square().sum(), shares.square().sum(dim=(1, 2)).mean()


check_labels = partial(refuse_several_labels, "klein-wolf draws an image to its class's centre")

METHOD = MethodEntry(
    build=lambda context: KleinWolf.of(context, context.config.embedding_dim),
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
        "feature_epochs": (0.25, 0.75),
        "score": ("inner", "l2"),
    },
)
