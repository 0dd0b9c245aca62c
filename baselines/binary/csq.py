"""Central Similarity Quantization (Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, CVPR 2020).

Objective: every bit of u = tanh(z) is drawn to that of the hash centre of the image's labels by binary cross-entropy,
plus `quantization` times the mean of (|u| - 1)^2. The centres are rows of a Hadamard matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.binary.signs import SignMethod, sign_network
from baselines.binary.targets import Targets, sign_targets
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import RankedBy, Weight


@dataclass(frozen=True)
class CSQConfig(Bounded):
    """Settings of CSQ.

    Attributes:
        quantization: weight lambda, as released for a residual network.
        targets: what the hash centres are: see `sign_targets`.
        score: rank by Hamming distance, "symmetric", or by "inner" product of the real query and the code.
    """

    quantization: Weight = 0.05
    targets: Targets = "hadamard"
    score: RankedBy = "symmetric"


class CSQ(SignMethod):
    """Central similarity; one training per code length.

    Args:
        backbone: network with an embedding head that has no tanh.
        config: objective.
        classes: L.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: the code length does not fit, or has fewer codes than there are classes.
    """

    name = "csq"

    def __init__(
        self,
        backbone: Backbone,
        config: CSQConfig | None = None,
        *,
        classes: int,
        bits: int = 32,
        codebook_size: int = 256,
    ) -> None:
        super().__init__(backbone, bits, codebook_size)
        self.config = config or CSQConfig()
        self.loss = CentralLoss(sign_targets(classes, bits, self.config.targets), self.config)

    def squash(self, outputs: Tensor) -> Tensor:
        """tanh(z) of outputs z [B, D]."""
        return torch.tanh(outputs)

    def terms(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Both terms of `CentralLoss`."""
        terms: dict[str, Tensor] = self.loss(outputs, labels)
        return terms


class CentralLoss(nn.Module):
    """The loss at one code length.

    Args:
        centres: [L, D] of +1 and -1.
        config: its weight `quantization`.
    """

    centres: Tensor
    ties: Tensor

    def __init__(self, centres: Tensor, config: CSQConfig) -> None:
        super().__init__()
        self.quantization = config.quantization
        self.register_buffer("centres", centres)
        self.register_buffer("ties", sign_targets(1, centres.shape[1], "bernoulli")[0])

    def forward(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Both weighted terms, of outputs z [B, D] and labels [B, L]."""
        return {
            "central": central_similarity_loss(outputs, labels, self.centres, self.ties),
            "quantization": self.quantization * (torch.tanh(outputs).abs() - 1).square().mean(),
        }


def central_similarity_loss(outputs: Tensor, labels: Tensor, centres: Tensor, ties: Tensor) -> Tensor:
    """Binary cross-entropy of (tanh(z) + 1) / 2 and (c + 1) / 2, mean over bits (Yuan et al. 2020).

    The centre c of several labels is the sign of the mean of theirs. Images without a label are left out.

    Args:
        outputs: z [B, D], before the tanh: (tanh(z) + 1) / 2 is the sigmoid of 2 z, whose cross-entropy has a gradient
            also where the tanh has none left.
        labels: [B, L] bool.
        centres: [L, D] of +1 and -1.
        ties: [D] of +1 and -1; bits on which the labels of an image tie.

    Returns:
        Scalar; 0 where no image has a label.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    labels = label_tensor(labels, len(outputs), len(centres))
    votes = labels.to(centres.dtype) @ centres
    bits = torch.where(votes == 0, ties, votes) > 0
    errors = F.binary_cross_entropy_with_logits(2 * outputs, bits.to(outputs.dtype), reduction="none").mean(dim=1)
    labelled = labels.any(dim=1).to(outputs.dtype)
    return (errors * labelled).sum() / labelled.sum().clamp(min=1)


METHOD = MethodEntry(
    build=lambda context: CSQ(
        sign_network(context),
        context.config,
        classes=context.classes,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="CSQ",
    progressive=False,
    config=CSQConfig,
    order=44,
    style=("#CC79A7", "H"),
    ranges={
        "quantization": (1e-5, 1.0, "log"),
        "targets": ("hadamard", "maxhd", "bernoulli"),
        "score": ("symmetric", "inner"),
    },
)
