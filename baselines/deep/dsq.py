"""Deep Spherical Quantization (Eghbali and Tahvildari, CVPR 2019, arXiv 1906.02865), as we read it.

No code of it was found; weights, the centres' estimate and the schedule are ours. The objective, of features z of unit
length, class centres phi and a classifier W on z, is a mean over images of
`CE(W z, y) + l1 ||z - C b||^2 + l2 ||z - phi_y||^2 + l3 ||phi_y - C b||^2`. In codes and codebooks that is
`(l1 + l3) ||t - C b||^2` and a constant, with `t = (l1 z + l3 phi_y) / (l1 + l3)`: training images are coded by t, with
iterated conditional modes and least squares; others, whose classes are unknown, by z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from dpq.codes.additive import decode, residual_kmeans
from dpq.codes.icm import icm_encode, use_every_codeword
from dpq.codes.least_squares import least_squares_codebooks
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.deep import AlternatingMethod
from dpq.learning.entry import MethodContext, MethodEntry
from dpq.learning.settings import Epoch, Fraction, Score, Weight, Width
from dpq.method.losses import classification_loss


@dataclass(frozen=True)
class DSQConfig(Bounded):
    """Settings of DSQ; the defaults are ours."""

    quantization: Annotated[float, Interval(ge=1e-9, le=1e9)] = 0.1  # weight l1
    centre: Weight = 0.1  # weight l2
    supervised: Weight = 0.1  # weight l3
    feature_epochs: Fraction = 0.5  # of the epochs, which train by the classifier alone, before centres and codes
    score: Score = "l2"  # or "inner": of unit vectors they differ by the length of reconstructions alone
    embedding_dim: Width = 0  # D; 0 takes the experiment's


class DSQ(AlternatingMethod):
    """Classifier and centres on unit features, and additive codes of both; one training per code length.

    The paper has one class an image. Of several, each class has a sigmoid, and an image's centre is the mean of theirs.

    Args:
        context: what it is built from; its settings are a `DSQConfig`.

    Raises:
        InputError: the code length does not fit.
    """

    name = "dsq"
    progressive = False
    capturable = True

    def __init__(self, context: MethodContext) -> None:
        self.config: DSQConfig = context.config
        backbone = context.backbone(0, embedding_dim=self.config.embedding_dim, head="unit")
        own = self.config.feature_epochs, self.config.quantization
        super().__init__(backbone, context.bits, context.codebook_size, *own)
        self.multi_label, dim = context.multi_label, self.codebooks.shape[2]
        backbone.add_head(dim, context.classes)
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(context.classes, dim), persistent=False)
        self._coded: tuple[Tensor, ...] = ()  # last z and t of the training images, [N, D]

    def forward(self, inputs: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D] of unit length, and the logits [B, L] that the classifier reads off them."""
        embeddings = self.backbone(inputs, count)[0]
        return embeddings, self.backbone.further[0](embeddings)

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return icm_encode(embeddings, self.codebooks)

    def feature_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The classifier's loss of embeddings [B, D] with labels [B, L], and once there are codes that of centres."""
        terms = {"classification": classification_loss(self.backbone.further[0](embeddings), labels, self.multi_label)}
        if len(self._reconstructions):
            away = embeddings - centres_of(embeddings, self.centres, labels)
            terms["centre"] = self.config.centre * away.square().sum(dim=1).mean()
        return terms

    def targets(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The targets t of the training images, of the means of their classes as they now are."""
        member = labels.to(embeddings.dtype)
        self.centres.copy_(member.T @ embeddings / member.sum(dim=0).clamp(min=1)[:, None])
        pulled = self.config.supervised * (centres_of(embeddings, self.centres, labels) - embeddings)
        self._coded = embeddings, embeddings + pulled / (self.quantization + self.config.supervised)
        return self._coded[1]

    def first_codebooks(self, embeddings: Tensor, seed: int) -> Tensor:
        """K-means on residuals, then one re-estimation."""
        levels, size = self.codebooks.shape[:2]
        return self.next_codebooks(embeddings, residual_kmeans(embeddings, levels, size, seed), seed)

    def next_codebooks(self, embeddings: Tensor, codebooks: Tensor, seed: int) -> Tensor:
        """Least squares on the codes that iterated conditional modes find, then none unused as far as can be."""
        codebooks = least_squares_codebooks(embeddings, icm_encode(embeddings, codebooks), codebooks)
        return use_every_codeword(embeddings, codebooks)

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """After the last epoch, the mean squared errors of codes of z, as searched images have them, and of t."""
        report = super().after_epoch(epoch)
        if epoch.index + 1 < epoch.count:
            return report
        left = [(x - decode(self.assign(x), self.codebooks)).square().sum(dim=1).mean() for x in self._coded]
        return report | {"feature_error": float(left[0]), "target_error": float(left[1])}


def centres_of(embeddings: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """What images [B, D] are pulled to, [B, D]: the mean of the centres [L, D] of their labels [B, L].

    Images without a label are where they are.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    member = label_tensor(labels, len(embeddings), len(centres)).to(embeddings.dtype)
    count = member.sum(dim=1, keepdim=True)
    return torch.where(count > 0, member @ centres / count.clamp(min=1), embeddings)


METHOD = MethodEntry(
    build=DSQ,
    title="DSQ (our reading)",
    progressive=False,
    config=DSQConfig,
    order=66,
    style=("#44AA99", ">"),
    ranges={
        "quantization": (1e-3, 1.0, "log"),
        "centre": (1e-3, 1.0, "log"),
        "supervised": (1e-3, 1.0, "log"),
        "feature_epochs": (0.25, 0.75),
        "score": ("inner", "l2"),
    },
)
