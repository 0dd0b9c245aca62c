"""Deep Visual-Semantic Quantization (Cao, Long, Wang and Liu, CVPR 2017).

Objective: an adaptive margin between label vectors, plus `quantization * mean_i sum_j <v_j, z_i - sum_m C_m b_im>^2`:
all label vectors v_j stand for the queries whose inner products codes must keep. Codes minimise that error too, by
iterated conditional modes: with V the label vectors, that is plain coding of `z V^T` with codebooks `C V^T`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from baselines.quantizers.pq import product_kmeans, sub_spaces
from dpq.codes.additive import usable_embeddings
from dpq.codes.icm import icm_encode, use_every_codeword
from dpq.codes.least_squares import least_squares_codebooks
from dpq.errors import InputError
from dpq.files.bounds import Bounded
from dpq.learning.backbone import Backbone
from dpq.learning.deep import AlternatingMethod
from dpq.learning.entry import MethodEntry
from dpq.learning.settings import CodesOn, Fraction, Score, Weight
from dpq.method.losses import adaptive_margin_loss


@dataclass(frozen=True)
class DVSQConfig(Bounded):
    """Settings of DVSQ, with one switch for each way in which its released code differs.

    Attributes:
        quantization: weight of the quantization loss, for label vectors of unit length. The released 1e-4 is for word
            vectors as they are, those of CIFAR-10 with a mean squared length of 9.65.
        feature_epochs: fraction of the epochs that train features alone, before there are codes.
        score: rank by "inner" product, which the codes are made for, or by "l2" distance.
        metric: codes and quantization loss see inner products with the "labels", or "plain" distances.
        negatives: the margin pushes from "wrong" labels, or from all "others", as released.
        codes_on: "centre", or "seen" as released: see `AlternatingMethod`.
        unused: codewords that no training image takes are "moved" to where images lie, or "kept", as released.
    """

    quantization: Weight = 9.65e-4
    feature_epochs: Fraction = 0.5
    score: Score = "inner"
    metric: Literal["labels", "plain"] = "labels"
    negatives: Literal["wrong", "others"] = "wrong"
    codes_on: CodesOn = "centre"
    unused: Literal["moved", "kept"] = "moved"

    def released(self) -> DVSQConfig:
        """The same weights, with every switch as in the released code."""
        return replace(self, negatives="others", codes_on="seen", unused="kept")


class DVSQ(AlternatingMethod):
    """Adaptive margin, and additive codes that keep inner products with label vectors; one training per code length.

    Orthonormal label vectors make all margins 1, and codes then see the L dimensions of the classes alone.

    Args:
        backbone: network with its embedding head; a classifier is not used.
        label_vectors: [L, D]; their directions count.
        config: objective.
        bits: code length.
        codebook_size: codewords per level K.

    Raises:
        InputError: code length or label vectors do not fit, or there are fewer dimensions than levels.
    """

    name = "dvsq"
    progressive = False
    capturable = True

    def __init__(
        self,
        backbone: Backbone,
        label_vectors: Tensor,
        config: DVSQConfig | None = None,
        *,
        bits: int = 32,
        codebook_size: int = 256,
    ) -> None:
        own = self.config = config or DVSQConfig()
        super().__init__(backbone, bits, codebook_size, own.feature_epochs, own.quantization, own.codes_on)
        levels, _, dim = self.codebooks.shape
        if label_vectors.ndim != 2 or label_vectors.shape[1] != dim:
            raise InputError(f"label vectors are {list(label_vectors.shape)}; expected [L, {dim}]")
        sub_spaces(dim, levels)  # too many are refused before training
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", F.normalize(label_vectors.float(), dim=1))

    def as_queries_see(self, x: Tensor) -> Tensor:
        """What is coded of vectors [..., D]: their inner products with label vectors, [..., L], or they themselves."""
        return x @ self.label_vectors.T if self.config.metric == "labels" else x

    def assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on their device."""
        return self._codes(usable_embeddings(embeddings, self.codebooks), self.codebooks)

    def _codes(self, embeddings: Tensor, codebooks: Tensor) -> Tensor:
        return icm_encode(self.as_queries_see(embeddings), self.as_queries_see(codebooks))

    def feature_loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The margin loss of embeddings [B, D] with labels [B, L]."""
        return {"margin": adaptive_margin_loss(embeddings, self.label_vectors, labels, self.config.negatives)}

    def first_codebooks(self, embeddings: Tensor, seed: int) -> Tensor:
        """K-means in every sub-space, then one re-estimation, which makes them as wide as embeddings."""
        levels, size = self.codebooks.shape[:2]
        return self.next_codebooks(embeddings, product_kmeans(embeddings, levels, size, seed), seed)

    def next_codebooks(self, embeddings: Tensor, codebooks: Tensor, seed: int) -> Tensor:
        """Least squares: of codebooks that leave least of what queries see, those that leave least of the rest."""
        codebooks = least_squares_codebooks(embeddings, self._codes(embeddings, codebooks), codebooks)
        if self.config.unused == "kept":
            return codebooks
        # Moved as queries see them; the codes that they then have say where they are in all dimensions.
        seen = self.as_queries_see(embeddings)
        codes = icm_encode(seen, use_every_codeword(seen, self.as_queries_see(codebooks)))
        return least_squares_codebooks(embeddings, codes, codebooks)

    def quantization_error(self, embeddings: Tensor, rows: Tensor) -> Tensor:
        """Mean squared distance, as queries see it, of a batch's embeddings [B, D] to its images' reconstructions."""
        return self.as_queries_see(embeddings - self._reconstructions[rows]).square().sum(dim=1).mean()


METHOD = MethodEntry(
    build=lambda context: DVSQ(
        context.backbone(0),
        context.label_vectors,
        context.config,
        bits=context.bits,
        codebook_size=context.codebook_size,
    ),
    title="DVSQ",
    progressive=False,
    config=DVSQConfig,
    order=60,
    style=("#CC6677", "^"),
    variants=("paper", "released"),
    ranges={
        "quantization": (1e-5, 1e-1, "log"),
        "feature_epochs": (0.25, 0.75),
        "metric": ("labels", "plain"),
        "score": ("inner", "l2"),
    },
)
