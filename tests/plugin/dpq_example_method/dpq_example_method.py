"""Rotated PQ: product quantization after a random rotation, which spreads the variance over the sub-spaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpq.errors import InputError
from dpq.registry import EmbeddingQuantizer, MethodContext, MethodEntry, Score, Source, kmeans


@dataclass(frozen=True)
class RotatedPQConfig:
    """Settings of Rotated PQ.

    Attributes:
        score: rank by "inner" product or by "l2" distance.
        rotate: without it, the method is plain PQ.
    """

    score: Score = "l2"
    rotate: bool = True


class RotatedPQ(EmbeddingQuantizer):
    """K-means in every sub-space of the rotated embeddings; one training per code length."""

    name = "rotated-pq"
    progressive = False

    def __init__(self, source: Source, config: RotatedPQConfig, bits: int, codebook_size: int) -> None:
        super().__init__(source, bits, codebook_size)
        self.config = config

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] from embeddings [N, D], rotated back, so that embeddings need no rotation."""
        dim = embeddings.shape[1]
        if dim < self.levels:
            raise InputError(f"{dim} dimensions cannot be divided into {self.levels} sub-spaces; shorten the code")
        rotation = torch.eye(dim)
        if self.config.rotate:
            generator = torch.Generator().manual_seed(seed)
            rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
        points = (embeddings.cpu() @ rotation).numpy()
        codebooks = torch.zeros(self.levels, self.codebook_size, dim)
        for level, dimensions in enumerate(torch.arange(dim).tensor_split(self.levels)):
            centres = kmeans(points[:, dimensions.numpy()], self.codebook_size, seed + level)
            codebooks[level][:, dimensions] = torch.from_numpy(centres)
        return codebooks @ rotation.T


def build(context: MethodContext) -> RotatedPQ:
    """An untrained Rotated PQ of the experiment's frozen features."""
    return RotatedPQ(context.source(), context.config, context.bits, context.codebook_size)


METHOD = MethodEntry(build, "Rotated PQ", RotatedPQ.progressive, config=RotatedPQConfig, source="backbone")
