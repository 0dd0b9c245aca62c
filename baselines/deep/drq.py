"""Deep Recurrent Quantization (Song, Zhu, Gao, Xu, Liu and Shen, IJCAI 2019, arXiv 1906.06699).

One codebook C serves all levels, level l as `w_l C` with a learned scalar (w_1 = 1): the codeword of largest cosine
with what earlier levels left is taken, and a softmax of the cosines mixes all. Embeddings are two layers side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.deep.triplets import semi_hard_triplet_loss
from dpq.codes.additive import affinities, encode, levels_for
from dpq.codes.least_squares import shared_codebook
from dpq.errors import InputError
from dpq.files.bounds import Bounded
from dpq.learning.deep import DeepMethod
from dpq.learning.entry import MethodContext, MethodEntry
from dpq.learning.settings import Epoch, Fraction, Rate, Score, Weight, Width, autocast
from dpq.method.losses import adaptive_margin_loss, quantization_terms


@dataclass(frozen=True)
class DRQConfig(Bounded):
    """Settings of DRQ."""

    tau: Weight = 1.0  # of the quantization loss, whose squared norms are means over dimensions
    nu: Weight = 0.1  # of the joint term within it; soft and hard distortion count alike
    triplet_margin: Weight = 2.5  # between squared distances of unit vectors
    codebook_learning_rate: Rate = 1e-2  # of Adam, for scalars and for the codebook in units of its spread
    feature_epochs: Fraction = 0.5  # of the epochs, which train features alone
    first_level_epochs: Fraction = 0.25  # of the epochs, which then train the first level alone
    quantization_gradient: Literal["features", "codebooks"] = "codebooks"  # what the loss reaches; released: codebooks
    negatives: Literal["wrong", "others"] = "wrong"  # labels that the adaptive margin pushes from; released: others
    score: Score = "inner"
    embedding_dim: Width = 512  # of both layers, the second being as wide as label vectors; 0: of that one alone

    def released(self) -> DRQConfig:
        """The same weights, with the switches as in the released code."""
        return replace(self, quantization_gradient="codebooks", negatives="others")


class DRQ(DeepMethod):
    """One codebook for all levels; trained once, read at every code length.

    Raises:
        InputError: the code length, or the width of both layers, does not fit.
    """

    name = "drq"
    progressive = True
    capturable = True

    def __init__(self, context: MethodContext) -> None:
        self.config: DRQConfig = context.config
        own = context.label_vectors.shape[1]
        dim = self.config.embedding_dim or own
        if 0 < self.config.embedding_dim <= own:
            raise InputError(f"embedding_dim of drq is of two layers, one {own} wide; got {dim}: give more, or 0")
        super().__init__(context.backbone(0, embedding_dim=dim - own or own, head="none"), self.config.feature_epochs)
        if dim > own:
            self.backbone.add_head(dim - own, own)
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", context.label_vectors.to(torch.float32, copy=True))
        # Codewords in units of their spread: nothing bounds the embeddings, and Adam's steps have one length.
        self.unit: Tensor
        self.register_buffer("unit", torch.ones(()))
        self.codebook = nn.Parameter(0.01 * torch.randn(context.codebook_size, dim))
        self.scales = nn.Parameter(torch.ones(levels_for(context.bits, context.codebook_size) - 1))  # w_2 and on

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""
        return self._scaled().detach()

    def _scaled(self) -> Tensor:
        return self.unit * torch.cat([self.scales.new_ones(1), self.scales])[:, None, None] * self.codebook

    def forward(self, inputs: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D], a linear layer and one on its positive part, neither squashed; logits [B, 0]."""
        first, logits = self.backbone(inputs, count)
        rest = [layer(self.backbone.dropout(first.relu())) for layer in self.backbone.further]
        return torch.cat([first, *rest], dim=1), logits

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return encode(embeddings, self.codebooks, "cosine")

    def codebook_parameters(self) -> list[dict[str, Any]]:
        """Codebook and scalars, with their own learning rate."""
        return [{"params": [self.codebook, self.scales], "lr": self.config.codebook_learning_rate}]

    def phase(self, epoch: int) -> int:
        """How many parts the quantization loss has: none, that of the first level, and that of the others as well."""
        first, both = self.config.feature_epochs, self.config.feature_epochs + self.config.first_level_epochs
        return sum(epoch >= int(share * self.training_config.epochs) for share in (first, both))

    def before_epoch(self, epoch: Epoch) -> None:
        """Start codebook and scalars when their time comes."""
        if epoch.index == self.codes_start(epoch.count):
            self._fit(epoch, anew=True)

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """After the last one, move codewords that no image takes, and fit the scalars to the features as they are."""
        if epoch.index + 1 == epoch.count:
            self._fit(epoch, anew=self.codes_start(epoch.count) == epoch.count)
        return {}

    @torch.no_grad()
    def _fit(self, epoch: Epoch, anew: bool) -> None:
        embeddings = epoch.embeddings(views="centre").to(self.codebook.device)
        how: dict[str, Any] = {} if anew else {"start": self.unit * self.codebook, "rounds": 0}
        codebook, scales = shared_codebook(embeddings, len(self.scales) + 1, len(self.codebook), epoch.seed, **how)
        self.unit.copy_(codebook.square().mean().sqrt())
        self.codebook.copy_(codebook / self.unit)
        self.scales.copy_(scales[1:])

    def losses(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted terms of the objective for one batch; arguments as for `DeepMethod.losses`."""
        own, parts = self.config, (("first", slice(0, 1)), ("further", slice(1, None)))[: self.phase(epoch)]
        with autocast(inputs.device, self.training_config.precision):
            x = self(inputs, len(rows))[0]
        x, vectors = x.float(), self.label_vectors
        margin = adaptive_margin_loss(x[:, -vectors.shape[1] :].tanh(), vectors, labels, own.negatives)
        terms = {"margin": margin, "triplet": semi_hard_triplet_loss(x, labels, own.triplet_margin)}
        x = x if own.quantization_gradient == "features" else x.detach()
        if parts:
            soft, hard = recurrent_sums(x, self._scaled()[: 1 if len(parts) == 1 else None])
        for level, some in parts:
            part = quantization_terms(x, soft[some], hard[some], norm="mean").weighted(own.tau, 1.0, own.nu)
            terms |= {f"{level}_{name}": value for name, value in part.items()}
        return terms


def recurrent_sums(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Soft and hard partial sums, [M, B, D] each, of embeddings [B, D] by codebooks [M, K, D] (Song et al. 2019)."""
    residual, soft, hard = x, [], []
    for codebook in codebooks.unbind():
        fits = affinities(residual, codebook, "cosine")
        soft.append(torch.softmax(fits, dim=1) @ codebook)
        hard.append(F.embedding(fits.argmax(dim=1), codebook))
        residual = residual - hard[-1]
    return torch.stack(soft).cumsum(dim=0), torch.stack(hard).cumsum(dim=0)


METHOD = MethodEntry(
    build=DRQ,
    title="DRQ",
    progressive=True,
    config=DRQConfig,
    order=62,
    style=("#882255", "d"),
    variants=("paper", "released"),
    ranges={
        "triplet_margin": (0.1, 3.0),
        "codebook_learning_rate": (1e-3, 1e-1, "log"),
        "feature_epochs": (0.25, 0.75),
    },
)
