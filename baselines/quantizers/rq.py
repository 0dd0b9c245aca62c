"""Residual quantization: k-means on successive residuals (Chen, Guan and Wang, Sensors 2010).

The unsupervised twin of DPQ's code: the same greedy, full-width codes, whose codebooks saw neither labels nor the
network's gradient. Fitted to DPQ's own embeddings it shows what learning the quantizer adds.
"""

from __future__ import annotations

from torch import Tensor

from dpq.codes.additive import residual_kmeans
from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import KMeansConfig


class RQ(EmbeddingQuantizer):
    """Residual quantization of given embeddings; a prefix of a code is the shorter code."""

    name = "rq"
    progressive = True

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] by k-means on residuals, level after level."""
        return residual_kmeans(embeddings, self.levels, self.codebook_size, seed)


METHOD = MethodEntry(
    build=RQ.of,
    title="RQ",
    progressive=True,
    config=KMeansConfig,
    source="backbone",
    order=30,
    paper=True,
    style=("#E69F00", "v"),
    on_dpq={"order": 91, "style": ("#CC79A7", "X")},
    ranges={"normalise": (False, True), "score": ("inner", "l2")},
)
