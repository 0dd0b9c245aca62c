"""Codebooks in sub-spaces that learn by gradient together with the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from baselines.quantizers.pq import product_kmeans, sub_spaces
from dpq.codes.additive import levels_for
from dpq.files.bounds import Bounded
from dpq.learning.backbone import Backbone, Head
from dpq.learning.deep import DeepMethod
from dpq.learning.entry import MethodContext
from dpq.learning.settings import Epoch, Execution, Fraction, Rate, TrainingConfig, TrainLog, autocast
from dpq.protocols.base import Split


@dataclass(frozen=True)
class ProductConfig(Bounded):
    """Settings of all methods here.

    Attributes:
        feature_epochs: fraction of the epochs that train features alone, by the same losses without quantization; then
            codebooks start from k-means. With 0 they are random, of squared length 1 in the mean.
        codebook_learning_rate: of Adam, for the codebooks.
    """

    feature_epochs: Fraction = 0.5
    codebook_learning_rate: Rate = 1e-3


class ProductMethod(DeepMethod):
    """A network and one codebook for each sub-space of its embedding, both learned by gradient.

    A method adds what it makes of the backbone's embedding, its loss terms and further layers. One training per length.

    Args:
        backbone: network with its embedding head; a classifier is not used.
        config: objective.
        bits: code length; one sub-space per log2 K bits.
        codebook_size: codewords per sub-space K.
        classes: number of classes L.

    Raises:
        InputError: the code length does not fit, or has more sub-spaces than the embedding has dimensions.
    """

    progressive = False
    capturable = True

    def __init__(self, backbone: Backbone, config: Any, *, bits: int, codebook_size: int, classes: int = 0) -> None:
        super().__init__(backbone, config.feature_epochs)
        self.config, self.classes = config, classes
        levels, dim = levels_for(bits, codebook_size), backbone.embedding.out_features
        mask = torch.zeros(levels, dim)  # [M, D]: 1 where a dimension is in the sub-space
        for own, dimensions in zip(mask, sub_spaces(dim, levels), strict=True):
            own[dimensions] = 1.0
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)
        self.codewords = nn.Parameter(self.random(codebook_size))  # [M, K, D]; `blocks` are their part that counts

    @classmethod
    def of(cls, context: MethodContext, embedding_dim: int, head: Head = "none") -> Self:
        """An untrained one, for `MethodEntry.build`."""
        backbone = context.backbone(0, embedding_dim=embedding_dim, head=head)
        how = {"bits": context.bits, "codebook_size": context.codebook_size, "classes": context.classes}
        return cls(backbone, context.config, **how)

    def random(self, count: int) -> Tensor:
        """Normal vectors [M, count, D], zero outside their sub-space, of squared length 1 in the mean."""
        scale = (self.mask / self.mask.sum(dim=1, keepdim=True)).sqrt()[:, None]
        return scale * torch.randn(len(self.mask), count, self.mask.shape[1])

    def blocks(self, vectors: Tensor) -> Tensor:
        """Vectors [M, K, D], zero outside their sub-space; no gradient reaches what lies there."""
        return vectors * self.mask[:, None]

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""
        return self.blocks(self.codewords).detach()

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """As `DeepMethod.fit`. Lengths share no feature epochs, as each has other parts."""
        return super().fit(train, training, seed, replace(execution or Execution(), feature_checkpoint=None))

    def read(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """What queries are and codes are read off, and class logits [B, L], of the backbone's embeddings [B, D]."""
        raise NotImplementedError

    def terms(self, embeddings: Tensor, labels: Tensor, codes: bool) -> dict[str, Tensor]:
        """Weighted loss terms of the backbone's embeddings [B, D] with labels [B, L]; before or after codes start."""
        raise NotImplementedError

    def layers(self) -> list[nn.Parameter]:
        """What learns like the backbone's heads, without weight decay."""
        return []

    def forward(self, inputs: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
        """As `DeepMethod.forward`; what is made of the backbone's embedding is always made in single precision."""
        embeddings = self.backbone(inputs, count)[0]
        with torch.autocast(inputs.device.type, enabled=False):
            return self.read(embeddings.float())

    def losses(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted terms of the objective for one batch; arguments as for `DeepMethod.losses`."""
        with autocast(inputs.device, self.training_config.precision):
            embeddings = self.backbone(inputs, len(rows))[0]
        return self.terms(embeddings.float(), labels, epoch >= self.codes_start(self.training_config.epochs))

    def network_parameters(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameter groups of backbone, heads, and the method's further layers."""
        groups, layers = super().network_parameters(config), self.layers()
        rate = config.learning_rate * config.head_multiplier
        return [*groups, {"params": layers, "weight_decay": 0.0, "lr": rate}] if layers else groups

    def codebook_parameters(self) -> list[dict[str, Any]]:
        """The codebooks, with their own learning rate."""
        return [{"params": [self.codewords], "lr": self.config.codebook_learning_rate}]

    def before_epoch(self, epoch: Epoch) -> None:
        """Start the codebooks when the feature epochs are over."""
        if epoch.index and epoch.index == self.codes_start(epoch.count):
            self.start(self.features(epoch), epoch.seed)

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Where all epochs are of features alone, fit codebooks to them in the end."""
        if epoch.count == epoch.index + 1 == self.codes_start(epoch.count):
            self.start(self.features(epoch), epoch.seed)
        return {}

    def features(self, epoch: Epoch) -> Tensor:
        """What k-means is fitted to, [N, D], of the training images."""
        return epoch.embeddings(views="centre")

    @torch.no_grad()
    def start(self, features: Tensor, seed: int) -> None:
        """Set the codewords by k-means on features [N, D]."""
        levels, size, _ = self.codewords.shape
        self.codewords.copy_(product_kmeans(features, levels, size, seed))


def part_products(x: Tensor, vectors: Tensor) -> Tensor:
    """Inner products [B, M, K] of x [B, D] with vectors [M, K, D] that are zero outside their sub-space."""
    return torch.einsum("bd,mkd->bmk", x, vectors)


def mixture(shares: Tensor, vectors: Tensor) -> Tensor:
    """For each sub-space the mean of its vectors [M, K, D] by shares [B, M, K]; their sum over sub-spaces, [B, D]."""
    return torch.einsum("bmk,mkd->bd", shares, vectors)


def unit_parts(x: Tensor, mask: Tensor) -> Tensor:
    """Vectors x [B, D] with each part scaled to unit length, so that ||x||^2 is M; a part of length 0 stays so.

    Args:
        x: of any real type.
        mask: [M, D], 1 where a dimension is in the part.
    """
    lengths = (x.square() @ mask.T).clamp(min=1e-24).sqrt()  # [B, M]
    return x / (lengths @ mask)
