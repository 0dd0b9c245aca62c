"""HashNet (Cao, Long, Wang and Yu, ICCV 2017): pairs, and a tanh that becomes the sign.

Objective: weighted logistic loss of `scale / B <u_i, u_j>` for pairs of images that share a label or do not, with
u = tanh(beta z); beta grows with the epochs, so that u ends near its signs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.binary.signs import SignMethod, sign_network
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import Epoch, RankedBy, Weight

PairWeights = Literal["balanced", "classes"]


@dataclass(frozen=True)
class HashNetConfig(Bounded):
    """Settings of HashNet, with one switch for what its released code does otherwise.

    Attributes:
        scale: alpha times the code length; a pair's logit is at most this.
        growth: beta is sqrt(1 + growth t) at the share t of the epochs; the released code ends at 50.
        weights: similar pairs count as much as others together, "balanced"; or each as many times as there are
            "classes", as the released code is told to for CIFAR-10.
        score: rank by Hamming distance, "symmetric", or by "inner" product of the real query and the code.
    """

    scale: Weight = 10.0
    growth: Weight = 50.0
    weights: PairWeights = "balanced"
    score: RankedBy = "symmetric"

    def released(self) -> HashNetConfig:
        """The released code's weights of pairs."""
        return replace(self, weights="classes")


class HashNet(SignMethod):
    """Weighted pairs of a batch; one training per code length.

    Args:
        backbone: network with an embedding head that has no tanh.
        config: objective.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: the code length does not fit.
    """

    name = "hashnet"

    def __init__(
        self, backbone: Backbone, config: HashNetConfig | None = None, *, bits: int = 32, codebook_size: int = 256
    ) -> None:
        super().__init__(backbone, bits, codebook_size)
        self.config = config or HashNetConfig()
        self._beta: Tensor
        self.register_buffer("_beta", torch.ones(()))  # where replayed steps read it

    def before_epoch(self, epoch: Epoch) -> None:
        """Sharpen the tanh; the released code does so every 200 of its 10,000 steps."""
        self._beta.fill_((1 + self.config.growth * epoch.index / epoch.count) ** 0.5)

    def squash(self, outputs: Tensor) -> Tensor:
        """tanh(beta z) of outputs z [B, D]."""
        return torch.tanh(self._beta * outputs)

    def terms(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of all pairs of a batch."""
        return {"pairs": weighted_pair_loss(self.squash(outputs), labels, self.config.scale, self.config.weights)}


def weighted_pair_loss(codes: Tensor, labels: Tensor, scale: float, weights: PairWeights = "balanced") -> Tensor:
    """Weighted maximum likelihood of pairs (Cao et al. 2017), over all pairs of two images of a batch.

    With logits a = scale / D <u_i, u_j>, a pair that shares a label has the loss log(1 + exp(-a)), another one
    log(1 + exp(a)). Pairs with an image that has no label are left out: nothing is known of them.

    Args:
        codes: [B, D], relaxed.
        labels: [B, L] bool.
        scale: see above.
        weights: "balanced": the mean over similar pairs plus the mean over others. "classes": their weighted mean,
            similar pairs L times.

    Returns:
        Scalar; a kind of which there is no pair adds 0.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    labels = label_tensor(labels, len(codes))
    positive, labelled = labels.to(codes.dtype), labels.any(dim=1)
    itself = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    known = (labelled[:, None] & labelled & ~itself).to(codes.dtype)
    similar = (positive @ positive.T > 0).to(codes.dtype)
    logits = scale / codes.shape[1] * (codes @ codes.T)
    errors = F.softplus(logits) - similar * logits  # finite for any logits
    if weights == "classes":
        weight = known * (1 + (labels.shape[1] - 1) * similar)
        return (errors * weight).sum() / weight.sum().clamp(min=1)
    kinds = known * similar, known * (1 - similar)
    return torch.stack([(errors * kind).sum() / kind.sum().clamp(min=1) for kind in kinds]).sum()


METHOD = MethodEntry(
    build=lambda context: HashNet(
        sign_network(context), context.config, bits=context.bits, codebook_size=context.codebook_size
    ),
    title="HashNet",
    progressive=False,
    config=HashNetConfig,
    order=40,
    style=("#117733", "P"),
    variants=("paper", "released"),
    ranges={
        "scale": (1.0, 100.0, "log"),
        "growth": (0.0, 200.0),
        "weights": ("balanced", "classes"),
        "score": ("symmetric", "inner"),
    },
)
