"""Local search quantization (Martinez et al., ECCV 2016; LSQ++, ECCV 2018): Faiss's codebooks, codes by our own search.

Codes and full-width codebooks are made in turn: codes by iterated local search, codebooks by least squares with noise
that fades. No level comes first, so a prefix of a code is no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from dpq.codes.icm import local_search
from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import Count, KMeansConfig
from dpq.search.faiss import needs_faiss, one_thread, training_points

_MOVED = 4  # levels that the search disturbs at once, of those that there are


@dataclass(frozen=True)
class LSQConfig(KMeansConfig):
    """Settings of LSQ.

    Attributes:
        rounds: of the local search that makes codes; in training Faiss makes 8 in each of 25 iterations.
        ridge: weight of the squared length of codewords in least squares.
    """

    rounds: Count = 16
    ridge: Annotated[float, Interval(ge=1e-6, le=1e6)] = 0.01


class LSQ(EmbeddingQuantizer):
    """Local search quantization of given embeddings; one training per code length."""

    name = "lsq"
    progressive = False
    config = LSQConfig()

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D]."""
        return local_search_codebooks(embeddings, self.levels, self.codebook_size, seed, self.config.ridge)

    def search(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] by `local_search`."""
        return local_search(embeddings, self._codebooks, self.config.rounds, _MOVED)


def local_search_codebooks(x: Tensor, levels: int, codebook_size: int, seed: int, ridge: float) -> Tensor:
    """Codebooks [M, K, D] by Faiss, on the CPU.

    Args:
        x: [N, D] float.
        levels: M.
        codebook_size: K.
        seed: of the draw of `training_points`, and of first codes, disturbances and noise.
        ridge: weight of the squared length of codewords.

    Raises:
        InputError: Faiss is not installed.
    """
    points = training_points(x, seed)
    with one_thread() as faiss:
        quantizer = faiss.LocalSearchQuantizer(points.shape[1], levels, codebook_size.bit_length() - 1)
        quantizer.random_seed, quantizer.nperts, quantizer.lambd = seed % 2**31, min(_MOVED, levels), ridge
        quantizer.train(points)
        return torch.from_numpy(faiss.vector_to_array(quantizer.codebooks).reshape(levels, codebook_size, -1))


METHOD = MethodEntry(
    build=LSQ.of,
    title="LSQ",
    progressive=False,
    config=LSQConfig,
    source="backbone",
    check=partial(needs_faiss, "lsq"),
    order=34,
    style=("#D55E00", ">"),
    on_dpq={"order": 95, "style": ("#009E73", ">")},
    ranges={"normalise": (False, True), "score": ("inner", "l2"), "ridge": (0.01, 1.0, 10.0)},
)
