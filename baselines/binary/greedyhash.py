"""GreedyHash (Su, Zhang, Han and Tian, NeurIPS 2018): a classifier that reads signs.

Objective: cross-entropy of W b for the signs b of the head's output u, plus `sign` times the mean of | |u| - 1 |^3. On
the way back the sign is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from baselines.binary.signs import SignMethod, sign_network
from baselines.one_label import refuse_several_labels
from dpq.files.bounds import Bounded
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import RankedBy, TrainingConfig, Weight
from dpq.method.losses import classification_loss


@dataclass(frozen=True)
class GreedyHashConfig(Bounded):
    """Settings of GreedyHash."""

    sign: Weight = 0.1  # weight alpha of the penalty, as for CIFAR-10
    score: RankedBy = "symmetric"  # rank by Hamming distance, or by "inner" product of the real query and the code


class GreedyHash(SignMethod):
    """Classification of signs; one training per code length, of images with one label each.

    Args:
        backbone: network with an embedding head that has no tanh.
        config: objective.
        classes: L.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: the code length does not fit.
    """

    name = "greedyhash"

    def __init__(
        self,
        backbone: Backbone,
        config: GreedyHashConfig | None = None,
        *,
        classes: int,
        bits: int = 32,
        codebook_size: int = 256,
    ) -> None:
        super().__init__(backbone, bits, codebook_size)
        self.config = config or GreedyHashConfig()
        self.classifier = nn.Linear(bits, classes, bias=False)

    def network_parameters(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Those of the network, and the classifier, which learns as the head does."""
        rate = config.learning_rate * config.head_multiplier
        own = {"params": [self.classifier.weight], "weight_decay": config.weight_decay, "lr": rate}
        return [*super().network_parameters(config), own]

    def terms(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the classified signs, and the penalty."""
        logits = self.classifier(straight_through_signs(outputs))
        return {
            "classification": classification_loss(logits, labels, multi_label=False),
            "sign": self.config.sign * sign_penalty(outputs),
        }


def straight_through_signs(x: Tensor) -> Tensor:
    """The signs of x, as numbers +1 and -1 (of 0: -1), with the gradient of x itself (Su et al. 2018)."""
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype) + (x - x.detach())


def sign_penalty(x: Tensor) -> Tensor:
    """Mean of | |x| - 1 |^3 (Su et al. 2018): the cubed distance to the signs."""
    return (x.abs() - 1).abs().pow(3).mean()


check_one_label = partial(refuse_several_labels, "greedyhash classifies images of one class")

METHOD = MethodEntry(
    build=lambda context: GreedyHash(
        sign_network(context),
        context.config,
        classes=context.classes,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="GreedyHash",
    progressive=False,
    config=GreedyHashConfig,
    check=check_one_label,
    order=42,
    style=("#332288", "X"),
    ranges={"sign": (1e-3, 10.0, "log"), "score": ("symmetric", "inner")},
)
