"""Product quantization: k-means in every sub-space (Jegou, Douze and Schmid, TPAMI 2011).

In the form of an additive codebook: the codewords of a level are zero outside its sub-space. So the greedy code is
the nearest codeword of every sub-space, and look-up tables, ranking and records are those of every other method.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from dpq.codes.additive import check_codebook_size, kmeans_in_parts
from dpq.errors import InputError
from dpq.inputs.values import as_tensor, whole_number
from dpq.learning.entry import MethodEntry
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import KMeansConfig


class PQ(EmbeddingQuantizer):
    """Product quantization of given embeddings; one training per code length."""

    name = "pq"
    progressive = False

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] by k-means in M sub-spaces."""
        return product_kmeans(embeddings, self.levels, self.codebook_size, seed)


def sub_spaces(dim: int, parts: int) -> list[slice]:
    """Consecutive dimensions of every part; their numbers differ by at most one where `parts` does not divide `dim`.

    Raises:
        InputError: fewer dimensions than parts.
    """
    if dim < parts:
        raise InputError(f"{dim} dimensions cannot be divided into {parts} sub-spaces; shorten the code")
    edges = [round(dim * part / parts) for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def product_kmeans(x: Tensor, parts: int, codebook_size: int, seed: int) -> Tensor:
    """K-means in every sub-space, as an additive codebook [M, K, D] where `x` is.

    Args:
        x: [N, D] float, on any device.
        parts: number of sub-spaces M.
        codebook_size: K.
        seed: of k-means.

    Raises:
        InputError: fewer points than codewords, or fewer dimensions than parts.
    """
    points = as_tensor(x, "embeddings").detach().float()
    if points.ndim != 2:
        raise InputError(f"expected embeddings [N, D]; got {list(points.shape)}")
    parts = whole_number("parts", parts)
    codebooks = points.new_zeros(parts, check_codebook_size(codebook_size), points.shape[1])
    spaces = sub_spaces(points.shape[1], parts)
    centres = kmeans_in_parts([points[:, dimensions] for dimensions in spaces], codebook_size, seed)
    for level, (dimensions, own) in enumerate(zip(spaces, centres, strict=True)):
        codebooks[level, :, dimensions] = own
    return codebooks


METHOD = MethodEntry(
    build=PQ.of,
    title="PQ",
    progressive=False,
    config=KMeansConfig,
    source="backbone",
    order=20,
    paper=True,
    style=("#000000", "D"),
    on_dpq={"order": 90, "style": ("#56B4E9", "P")},
    ranges={"normalise": (False, True), "score": ("inner", "l2")},
)
