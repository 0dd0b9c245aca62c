"""Deep Quantization Network (Cao, Long, Wang, Zhu and Wen, AAAI 2016).

Objective: `mean_ij (s_ij - cos(z_i, z_j))^2 + quantization * mean_i ||z_i - C b_i||^2` with s in {-1, +1} and C a
product quantizer, whose codebooks and codes are re-estimated between epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from baselines.quantizers.pq import product_kmeans, sub_spaces
from dpq.files.bounds import Bounded
from dpq.inputs.values import label_tensor
from dpq.learning.backbone import Backbone
from dpq.learning.deep import AlternatingMethod
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import CodesOn, Fraction, Score, Weight, Width, added_later


@dataclass(frozen=True)
class DQNConfig(Bounded):
    """Settings of DQN."""

    quantization: Weight = 1e-4  # weight lambda of the product quantization loss
    feature_epochs: Fraction = 0.5  # of the epochs, which train features alone
    score: Score = "inner"  # rank by "inner" product, as released, or by "l2" distance, as printed
    codes_on: CodesOn = added_later("centre")  # or "seen", as the released code has it: see `AlternatingMethod`
    embedding_dim: Width = added_later(0)  # D; 0 takes the experiment's


class DQN(AlternatingMethod):
    """Pairwise cosine loss and product quantization; one training per code length.

    Args:
        backbone: network with its embedding head; a classifier is not used.
        config: objective.
        bits: code length.
        codebook_size: codewords per sub-space K.

    Raises:
        InputError: the code length does not fit, or has more sub-spaces than the embedding has dimensions.
    """

    name = "dqn"
    progressive = False
    capturable = True

    def __init__(
        self, backbone: Backbone, config: DQNConfig | None = None, *, bits: int = 32, codebook_size: int = 256
    ) -> None:
        self.config = config or DQNConfig()
        own = self.config
        super().__init__(backbone, bits, codebook_size, own.feature_epochs, own.quantization, own.codes_on)
        sub_spaces(self.codebooks.shape[2], len(self.codebooks))  # too many are refused before training

    def feature_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The pairwise loss of embeddings [B, D] with labels [B, L]."""
        return {"pairwise": pairwise_cosine_loss(embeddings, labels)}

    def first_codebooks(self, embeddings: Tensor, seed: int) -> Tensor:
        """K-means in every sub-space."""
        levels, size = self.codebooks.shape[:2]
        return product_kmeans(embeddings, levels, size, seed)

    def next_codebooks(self, embeddings: Tensor, codebooks: Tensor, seed: int) -> Tensor:
        """K-means again, from scratch as in the released code."""
        return self.first_codebooks(embeddings, seed)


def pairwise_cosine_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Mean over all pairs of a batch of `(s_ij - cos(z_i, z_j))^2` (Cao et al. 2016; i = j included).

    Pairs with an image that has no label are left out: nothing is known of them.

    Args:
        embeddings: [B, D].
        labels: [B, L] bool; pairs that share a label have s = +1, others s = -1.

    Returns:
        Scalar.

    Raises:
        InputError: labels are neither bool nor 0 and 1.
    """
    unit = F.normalize(embeddings, dim=1)
    labels = label_tensor(labels, len(embeddings))
    positive = labels.to(embeddings.dtype)
    similarity = (positive @ positive.T > 0).to(embeddings.dtype) * 2 - 1  # [B, B]
    labelled = labels.any(dim=1).to(embeddings.dtype)
    known = labelled[:, None] * labelled  # [B, B]
    errors = (similarity - unit @ unit.T).square() * known
    return errors.mean() * (known.numel() / known.sum().clamp(min=1))  # times 1 where all have a label


METHOD = MethodEntry(
    build=lambda context: DQN(
        context.backbone(0, embedding_dim=context.config.embedding_dim),
        context.config,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="DQN",
    progressive=False,
    config=DQNConfig,
    order=50,
    paper=True,
    style=("#009E73", "^"),
    ranges={"quantization": (1e-6, 1e-1, "log"), "feature_epochs": (0.25, 0.75), "score": ("inner", "l2")},
)
