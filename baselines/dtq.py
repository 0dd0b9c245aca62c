"""Deep Triplet Quantization (Liu, Cao, Long, Wang and Wang, ACM MM 2018, arXiv 1902.00153).

Objective: triplets with group-hard mining, plus `quantization * mean_i ||z_i - sum_m C_m b_im||^2`, plus
`orthogonality` times a penalty that keeps the codebooks weakly orthogonal. Between epochs codes come from iterated
conditional modes and codebooks from (penalised) least squares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from dpq.codes.additive import LOSING, centre, residual_kmeans, usable_codes
from dpq.codes.icm import icm_encode
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.deep import AlternatingMethod
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import CodesOn, Fraction, Score, Weight


@dataclass(frozen=True)
class DTQConfig(Bounded):
    """Settings of DTQ."""

    margin: Weight = 30.0  # between squared distances
    quantization: Weight = 1e-4  # weight of the quantization loss
    orthogonality: Weight = 1e-4  # weight of the penalty on the codebooks, relative to an image's mean squared error
    sweeps: Annotated[int, Interval(ge=0, le=10**4)] = 3  # of iterated conditional modes
    feature_epochs: Fraction = 0.5  # of the epochs, which train features alone
    score: Score = "inner"  # rank by "inner" product or by "l2" distance
    codes_on: CodesOn = "seen"  # as the released code has it, or "centre": see `AlternatingMethod`

    def released(self) -> DTQConfig:
        """As in the released code: no penalty, and quantization that does not reach the features."""
        return replace(self, quantization=0.0, orthogonality=0.0)


class DTQ(AlternatingMethod):
    """Triplet loss and additive codes by iterated conditional modes; one training per code length.

    A mining group is a batch, mined on the embeddings of this very step.

    Args:
        backbone: network with its embedding head; a classifier is not used.
        config: objective.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: the code length does not fit.
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

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return icm_encode(embeddings, self.codebooks, self.config.sweeps)

    def feature_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The triplet loss of embeddings [B, D] with labels [B, L]."""
        return {"triplet": group_hard_triplet_loss(embeddings, labels, self.config.margin)}

    def first_codebooks(self, embeddings: Tensor, seed: int) -> Tensor:
        """K-means on residuals, then one re-estimation."""
        levels, size = self.codebooks.shape[:2]
        codebooks = residual_kmeans(embeddings, levels, size, seed)
        return self.next_codebooks(embeddings, codebooks, seed)

    def next_codebooks(self, embeddings: Tensor, codebooks: Tensor, seed: int) -> Tensor:
        """Least squares on the codes that iterated conditional modes find."""
        codes = icm_encode(embeddings, codebooks, self.config.sweeps)
        return least_squares_codebooks(embeddings, codes, codebooks, self.config.orthogonality)


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


def orthogonality_penalty(codebooks: Tensor) -> Tensor:
    """Mean over codeword pairs of the entries of `sum_{m, m'} ||C_m^T C_m' - I||^2` (Liu et al. 2018).

    Args:
        codebooks: [M, K, D]; the paper's C_m has codewords as columns.

    Returns:
        Scalar: the sum divided by (M K)^2.
    """
    levels, size, _ = codebooks.shape
    flat = codebooks.flatten(0, 1)
    identity = torch.eye(size, dtype=flat.dtype, device=flat.device).repeat(levels, levels)
    return (flat @ flat.T - identity).square().mean()


def least_squares_codebooks(
    x: Tensor, codes: Tensor, codebooks: Tensor, orthogonality: float = 0.0, ridge: float = 1e-3
) -> Tensor:
    """Codebooks that minimise the squared error of given codes, plus the weighted penalty.

    Args:
        x: [N, D].
        codes: [N, M] uint8.
        codebooks: [M, K, D], the present ones; codewords that no code uses stay as they are.
        orthogonality: weight of `orthogonality_penalty` against the mean squared error of an image; 0 has a closed
            form.
        ridge: weight of the squared distance to the present codewords; the systems of additive codes are singular.

    Returns:
        [M, K, D].

    Raises:
        InputError: a code is no index of a codeword.
    """
    levels, size, dim = codebooks.shape
    codes = usable_codes(codes, size)
    columns = codes.long() + size * torch.arange(levels, device=codes.device)
    chosen = torch.zeros(len(x), levels * size, dtype=torch.float64, device=x.device).scatter_(1, columns, 1.0)
    present = codebooks.reshape(-1, dim).double()
    normal = chosen.T @ chosen + ridge * torch.eye(levels * size, dtype=torch.float64, device=x.device)
    right = chosen.T @ x.double() + ridge * present
    solved: Tensor = torch.linalg.solve(normal, right)
    if orthogonality > 0:
        normal, right = normal.float() / len(x), right.float() / len(x)
        solved = _penalised(solved.float(), normal, right, codebooks.shape, orthogonality)
    return solved.reshape(levels, size, dim).to(codebooks.dtype)


def _penalised(start: Tensor, normal: Tensor, right: Tensor, shape: torch.Size, orthogonality: float) -> Tensor:
    """Minimise the quadratic `tr(C^T normal C) - 2 tr(C^T right)` plus the penalty, from the unpenalised solution."""
    flat = start.clone(memory_format=torch.contiguous_format).requires_grad_()
    optimizer = torch.optim.LBFGS([flat], max_iter=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        error = (flat * (normal @ flat - 2 * right)).sum()
        value = error + orthogonality * orthogonality_penalty(flat.view(shape))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return flat.detach()


METHOD = MethodEntry(
    build=lambda context: DTQ(
        context.backbone(0), context.config, bits=context.bits, codebook_size=context.codebook_size
    ),
    title="DTQ",
    progressive=False,
    config=DTQConfig,
    order=70,
    style=("#D55E00", "s"),
    variants=("paper", "released"),
    ranges={
        "margin": (1.0, 100.0, "log"),
        "quantization": (1e-6, 1e-1, "log"),
        "orthogonality": (1e-6, 1e-2, "log"),
        "feature_epochs": (0.25, 0.75),
    },
)
