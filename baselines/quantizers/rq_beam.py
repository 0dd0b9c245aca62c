"""Residual quantization with a beam: Faiss's codebooks (Douze et al., The Faiss library, 2024), codes by our own beam.

Training keeps several codes of an embedding at every level, and each level clusters what all of them leave. So a level
sees more different residuals than there are embeddings, which on few embeddings keeps it from fitting single ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dpq.codes.beam import beam_encode
from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import Count, KMeansConfig
from dpq.search.faiss import needs_faiss, one_thread, training_points


@dataclass(frozen=True)
class RQBeamConfig(KMeansConfig):
    """Settings of RQ with a beam.

    Attributes:
        beam: codes that are kept of an embedding, in training and in coding.
    """

    beam: Count = 5


class RQBeam(EmbeddingQuantizer):
    """Residual quantization whose codes are the best of a beam, over the whole length: one training per code length."""

    name = "rq-beam"
    progressive = False
    config = RQBeamConfig()

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D]."""
        return beam_codebooks(embeddings, self.levels, self.codebook_size, seed, self.config.beam)

    def search(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] by a beam."""
        return beam_encode(embeddings, self._codebooks, self.config.beam)


def beam_codebooks(x: Tensor, levels: int, codebook_size: int, seed: int, beam: int) -> Tensor:
    """Codebooks [M, K, D] by Faiss, with its k-means in ever more dimensions, on the CPU.

    Args:
        x: [N, D] float.
        levels: M.
        codebook_size: K.
        seed: of the draw of `training_points` and of k-means.
        beam: codes that are kept of an embedding.

    Raises:
        InputError: Faiss is not installed.
    """
    points = training_points(x, seed)
    with one_thread() as faiss:
        quantizer = faiss.ResidualQuantizer(points.shape[1], levels, codebook_size.bit_length() - 1)
        quantizer.max_beam_size = beam
        quantizer.cp.seed = seed % 2**31
        quantizer.cp.min_points_per_centroid = 1  # or Faiss warns
        quantizer.train(points)
        return torch.from_numpy(faiss.vector_to_array(quantizer.codebooks).reshape(levels, codebook_size, -1))


METHOD = MethodEntry(
    build=RQBeam.of,
    title="RQ, beam",
    progressive=False,
    config=RQBeamConfig,
    source="backbone",
    check=partial(needs_faiss, "rq-beam"),
    order=32,
    style=("#E69F00", "<"),
    on_dpq={"order": 94, "style": ("#CC79A7", "<")},
    ranges={"normalise": (False, True), "score": ("inner", "l2"), "beam": (1, 5, 16)},
)
