"""OrthoHash (Hoe, Ng, Zhang, Chan, Song and Xiang, NeurIPS 2021): one loss on cosines with sign targets.

Objective: softmax cross-entropy of s (cos(u, o_j) - m [j is a label]) over the classes, where u is the batch-normalised
output of the head and o_j the target of class j. Nothing else draws u to its signs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
class OrthoHashConfig(Bounded):
    """Settings of OrthoHash, with one switch for each way in which its released code differs.

    Attributes:
        scale: s; 0 takes the root of the code length.
        margin: m, on the cosine of every label of an image.
        targets: see `sign_targets`.
        score: rank by Hamming distance, "symmetric", or by "inner" product of the real query and the code.
    """

    scale: Weight = 0.0
    margin: Weight = 0.2
    targets: Targets = "hadamard"
    score: RankedBy = "symmetric"

    def released(self) -> OrthoHashConfig:
        """The released code's defaults: one scale for all lengths, and targets of independent signs."""
        return replace(self, scale=8.0, targets="bernoulli")


class OrthoHash(SignMethod):
    """One cosine loss; one training per code length.

    Args:
        backbone: network with an embedding head that ends in batch norm.
        config: objective.
        classes: L.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: the code length does not fit, or has fewer codes than there are classes.
    """

    name = "orthohash"

    def __init__(
        self,
        backbone: Backbone,
        config: OrthoHashConfig | None = None,
        *,
        classes: int,
        bits: int = 32,
        codebook_size: int = 256,
    ) -> None:
        super().__init__(backbone, bits, codebook_size)
        self.config = config or OrthoHashConfig()
        self.loss = CosineLoss(sign_targets(classes, bits, self.config.targets), self.config)

    def terms(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The one term of `CosineLoss`."""
        terms: dict[str, Tensor] = self.loss(outputs, labels)
        return terms


class CosineLoss(nn.Module):
    """The loss at one code length.

    Args:
        targets: [L, D] of +1 and -1.
        config: its scale and margin.
    """

    targets: Tensor

    def __init__(self, targets: Tensor, config: OrthoHashConfig) -> None:
        super().__init__()
        self.scale = config.scale or targets.shape[1] ** 0.5
        self.margin = config.margin
        self.register_buffer("targets", targets)

    def forward(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The term, of outputs u [B, D] and labels [B, L]."""
        return {"cosine": cosine_margin_loss(outputs, labels, self.targets, self.scale, self.margin)}


def cosine_margin_loss(outputs: Tensor, labels: Tensor, targets: Tensor, scale: float, margin: float) -> Tensor:
    """Cross-entropy of cosines with a margin (Hoe et al. 2021); several labels share the probability evenly.

    Images without a label are left out.

    Args:
        outputs: u [B, D].
        labels: [B, L] bool.
        targets: [L, D] of +1 and -1.
        scale: s.
        margin: m.

    Returns:
        Scalar; 0 where no image has a label.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    flags = label_tensor(labels, len(outputs), len(targets)).to(outputs.dtype)
    cosines = F.normalize(outputs, dim=1) @ F.normalize(targets, dim=1).T  # [B, L]
    count = flags.sum(dim=1, keepdim=True)
    errors = -(flags / count.clamp(min=1) * F.log_softmax(scale * (cosines - margin * flags), dim=1)).sum(dim=1)
    return errors.sum() / (count > 0).sum().clamp(min=1)


METHOD = MethodEntry(
    build=lambda context: OrthoHash(
        sign_network(context, "batchnorm"),
        context.config,
        classes=context.classes,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="OrthoHash",
    progressive=False,
    config=OrthoHashConfig,
    order=46,
    style=("#882255", "8"),
    variants=("paper", "released"),
    ranges={
        "margin": (0.0, 0.5),
        "targets": ("hadamard", "maxhd", "bernoulli"),
        "score": ("symmetric", "inner"),
    },
)
