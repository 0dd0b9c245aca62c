"""Optimized product quantization: PQ after the rotation that suits it (Ge, He, Ke and Sun, CVPR 2013), by Faiss.

Rotated back, its codewords are additive codebooks of embeddings as they are. The levels stay orthogonal to each other,
so greedy codes are the nearest codewords of every sub-space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import Count, KMeansConfig
from dpq.search.faiss import needs_faiss, one_thread, training_points

_ROTATED = 10_000  # embeddings that the rotation is fitted to, at most; Faiss draws them


@dataclass(frozen=True)
class OPQConfig(KMeansConfig):
    """Settings of OPQ.

    Attributes:
        iterations: of rotation and codebooks in turn; Faiss's own are 50, of which the later ones change little.
    """

    iterations: Count = 20


class OPQ(EmbeddingQuantizer):
    """Optimized product quantization of given embeddings; one training per code length."""

    name = "opq"
    progressive = False
    config = OPQConfig()

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] of the rotated sub-spaces, rotated back."""
        return rotated_codebooks(embeddings, self.levels, self.codebook_size, seed, self.config.iterations)


def rotated_codebooks(x: Tensor, levels: int, codebook_size: int, seed: int, iterations: int) -> Tensor:
    """Codebooks [M, K, D] by Faiss, on the CPU.

    Where M does not divide D, embeddings are rotated into the next larger number of dimensions that it does. Levels are
    then not quite orthogonal, and a greedy code may differ from that of the sub-spaces, with as much error in the mean.

    Args:
        x: [N, D] float.
        levels: M.
        codebook_size: K.
        seed: of the draw of `training_points` and of k-means; the first rotation is always the same.
        iterations: of rotation and codebooks in turn.

    Raises:
        InputError: Faiss is not installed.
    """
    points = training_points(x, seed)
    dim, bits = points.shape[1], codebook_size.bit_length() - 1
    width = -(-dim // levels) * levels
    with one_thread() as faiss:
        # One for the rotation, whose settings it changes, and one for the codebooks.
        quantizers = [faiss.ProductQuantizer(width, levels, bits) for _ in range(2)]
        for quantizer in quantizers:
            quantizer.cp.seed = seed % 2**31
            quantizer.cp.min_points_per_centroid = 1  # or Faiss warns
        rotation = faiss.OPQMatrix(dim, levels, width)
        rotation.niter, rotation.max_train_points, rotation.pq = iterations, _ROTATED, quantizers[0]
        rotation.train(points)
        quantizers[1].train(rotation.apply(points))
        centres = faiss.vector_to_array(quantizers[1].centroids).reshape(levels, codebook_size, width // levels)
        back = faiss.vector_to_array(rotation.A).reshape(levels, width // levels, dim)
    return torch.from_numpy(centres @ back)


METHOD = MethodEntry(
    build=OPQ.of,
    title="OPQ",
    progressive=False,
    config=OPQConfig,
    source="backbone",
    check=partial(needs_faiss, "opq"),
    order=22,
    style=("#0072B2", "d"),
    on_dpq={"order": 93, "style": ("#56B4E9", "d")},
    ranges={"normalise": (False, True), "score": ("inner", "l2")},
)
