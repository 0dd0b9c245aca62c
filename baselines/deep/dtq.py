"""Deep Triplet Quantization (Liu, Cao, Long, Wang and Wang, ACM MM 2018, arXiv 1902.00153).

Objective: triplets with group-hard mining, plus `quantization * mean_i ||z_i - sum_m C_m b_im||^2`, plus
`orthogonality` times a penalty that keeps the codebooks weakly orthogonal. Between epochs codes come from iterated
conditional modes and codebooks from (penalised) least squares; codewords that no image takes are moved to where
images lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from baselines.quantizers.pq import product_kmeans, sub_spaces
from dpq.codes.additive import LOSING, centre, residual_kmeans
from dpq.codes.icm import icm_encode, use_every_codeword
from dpq.codes.least_squares import least_squares_codebooks
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.deep import AlternatingMethod
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import CodesOn, Fraction, Score, Weight, Width


@dataclass(frozen=True)
class DTQConfig(Bounded):
    """Settings of DTQ, with one switch for each way in which its released code differs.

    Attributes:
        margin: between squared distances.
        quantization: weight of the quantization loss.
        orthogonality: weight of the penalty on the codebooks, relative to an image's mean squared error.
        sweeps: of iterated conditional modes.
        feature_epochs: fraction of the epochs that train features alone, before there are codes.
        score: rank by "l2" distance, which the triplets are made of, or by "inner" product.
        codes_on: as the released code has it, "seen"; or "centre": see `AlternatingMethod`.
        embedding_dim: D, as released; 0 takes the experiment's.
        start: codebooks start from k-means on "residual" vectors, or in sub-spaces as in "product" quantization.
        unused: codewords that no training image takes are "moved" to where images lie, or "kept" as they are.
    """

    margin: Weight = 30.0
    quantization: Weight = 1e-4
    orthogonality: Weight = 1e-4
    sweeps: Annotated[int, Interval(ge=0, le=10**4)] = 3
    feature_epochs: Fraction = 0.5
    score: Score = "l2"
    codes_on: CodesOn = "seen"
    embedding_dim: Width = 64
    start: Literal["residual", "product"] = "residual"
    unused: Literal["moved", "kept"] = "moved"

    def released(self) -> DTQConfig:
        """The same weights, with every switch as in the released code: neither penalty nor quantization loss."""
        return replace(self, quantization=0.0, orthogonality=0.0, score="inner", start="product", unused="kept")


class DTQ(AlternatingMethod):
    """Triplet loss and additive codes by iterated conditional modes; one training per code length.

    A mining group is a batch, mined on the embeddings of this very step.

    Args:
        backbone: network with its embedding head; a classifier is not used.
        config: objective.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: the code length does not fit, or has more sub-spaces than the embedding has dimensions.
    """

    name = "dtq"
    progressive = False
    capturable = True

    def __init__(
        self, backbone: Backbone, config: DTQConfig | None = None, *, bits: int = 32, codebook_size: int = 256
    ) -> None:
        self.config = config or DTQConfig()
        own = self.config
        super().__init__(backbone, bits, codebook_size, own.feature_epochs, own.quantization, own.codes_on)
        if own.start == "product":
            sub_spaces(self.codebooks.shape[2], len(self.codebooks))  # too many are refused before training

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return icm_encode(embeddings, self.codebooks, self.config.sweeps)

    def feature_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The triplet loss of embeddings [B, D] with labels [B, L]."""
        return {"triplet": group_hard_triplet_loss(embeddings, labels, self.config.margin)}

    def first_codebooks(self, embeddings: Tensor, seed: int) -> Tensor:
        """K-means, then one re-estimation."""
        levels, size = self.codebooks.shape[:2]
        start = residual_kmeans if self.config.start == "residual" else product_kmeans
        return self.next_codebooks(embeddings, start(embeddings, levels, size, seed), seed)

    def next_codebooks(self, embeddings: Tensor, codebooks: Tensor, seed: int) -> Tensor:
        """Least squares on the codes that iterated conditional modes find, then none unused as far as can be."""
        codes = icm_encode(embeddings, codebooks, self.config.sweeps)
        codebooks = least_squares_codebooks(embeddings, codes, codebooks, self.config.orthogonality)
        if self.config.unused == "kept":
            return codebooks
        return use_every_codeword(embeddings, codebooks, self.config.sweeps)


def group_hard_triplet_loss(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Triplet loss with group-hard mining (Liu et al. 2018, Sec. 3.1); the group is the batch.

    For every anchor and positive one negative is drawn at random among those that violate
    `||z_a - z_n||^2 - ||z_a - z_p||^2 >= margin`; pairs without such a negative are skipped. An image without a label
    is nobody's negative: nothing is known of it.

    Args:
        embeddings: [B, D].
        labels: [B, L] bool; images that share a label are positives of each other.
        margin: between squared distances.

    Returns:
        Mean of `margin + ||z_a - z_p||^2 - ||z_a - z_n||^2` over the drawn triplets; 0 without any.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    labels = label_tensor(labels, len(embeddings))
    positive_labels = labels.to(embeddings.dtype)
    similar = positive_labels @ positive_labels.T > 0  # [B, B]
    distances = squared_distances(embeddings)
    violation = margin + distances[:, :, None] - distances[:, None, :]  # [anchor, positive, negative]
    itself = torch.eye(len(embeddings), dtype=torch.bool, device=embeddings.device)
    others = ~similar & labels.any(dim=1)
    eligible = (similar & ~itself)[:, :, None] & others[:, None, :] & (violation.detach() > 0)
    drawn = torch.rand_like(violation).masked_fill(~eligible, -1).argmax(dim=2, keepdim=True)
    found = eligible.any(dim=2)  # [B, B]
    losses = violation.gather(2, drawn)[:, :, 0] * found
    return losses.sum() / found.sum().clamp(min=1)


def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances [B, B] between the rows of x [B, D], also where their mean is large."""
    shift = centre(x, LOSING)
    # Both, as the order of sums in a gradient is part of a training's last digits.
    return torch.where(shift.any(), _squared_distances(x - shift), _squared_distances(x))


def _squared_distances(x: Tensor) -> Tensor:
    norms = x.square().sum(dim=1)
    return (norms[:, None] + norms - 2 * x @ x.T).clamp(min=0)


METHOD = MethodEntry(
    build=lambda context: DTQ(
        context.backbone(0, embedding_dim=context.config.embedding_dim),
        context.config,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="DTQ",
    progressive=False,
    config=DTQConfig,
    order=70,
    paper=True,
    style=("#D55E00", "s"),
    variants=("paper", "released"),
    ranges={
        "margin": (1.0, 100.0, "log"),
        "quantization": (1e-6, 1e-1, "log"),
        "orthogonality": (1e-6, 1e-2, "log"),
        "feature_epochs": (0.25, 0.75),
        "score": ("inner", "l2"),
    },
)
