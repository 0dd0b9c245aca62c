"""Generated data at the size of a real set, for measuring speed.

Axes: Q queries, N database, D dimensions, M levels, K codewords, L classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpq.additive import affinities, encode

BITS = (8, 16, 24, 32)
DIM, LEVELS, CODEBOOK_SIZE = 300, 4, 256
FITTED = 2560  # embeddings that the codebooks are taken from
BLOCK = 8192  # embeddings in memory at once


@dataclass(frozen=True)
class Labelling:
    """How images have labels, and how their embeddings scatter.

    Attributes:
        classes: L.
        mean_labels: of an image.
        skew: exponent of Zipf's law for how frequent the classes are; 0 makes them equal.
        noise: standard deviation beside class centres of unit variance; decides how many codes differ.
    """

    classes: int
    mean_labels: float
    skew: float
    noise: float


NUSWIDE = Labelling(21, 2.1, 1.0, 3.0)  # most of the longest codes differ, which is the slow case
CIFAR10 = Labelling(10, 1.0, 0.0, 1.6)  # about 256, 9,600, 30,000 and 43,000 different codes of 54,000


@dataclass(frozen=True)
class CodedSet:
    """What a ranking needs.

    Attributes:
        queries: [Q, D] float32.
        query_labels: [Q, L] bool.
        codes: [N, M] uint8.
        database_labels: [N, L] bool.
        codebooks: [M, K, D] float32.
    """

    queries: Tensor
    query_labels: Tensor
    codes: Tensor
    database_labels: Tensor
    codebooks: Tensor


def coded_set(labelling: Labelling, queries: int, database: int, seed: int = 0) -> CodedSet:
    """Images whose embedding is the mean of their labels' centres, with noise.

    Queries and codewords are whole 64ths, which makes every score exact in float32: whatever way it is computed,
    rankings are the same.
    """
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(labelling.classes, DIM, generator=random)

    def embed(labels: Tensor) -> Tensor:
        means = labels.float() @ centres / labels.sum(dim=1, keepdim=True)
        return means + labelling.noise * torch.randn(means.shape, generator=random)

    codebooks = _whole(_codebooks(embed(_labels(labelling, FITTED, random))))
    query_labels, database_labels = _labels(labelling, queries, random), _labels(labelling, database, random)
    blocks = (database_labels[start : start + BLOCK] for start in range(0, database, BLOCK))
    codes = torch.cat([encode(embed(block), codebooks) for block in blocks])
    return CodedSet(_whole(embed(query_labels)), query_labels, codes, database_labels, codebooks)


def _whole(x: Tensor) -> Tensor:
    return (x * 64).round() / 64


def _labels(labelling: Labelling, rows: int, random: torch.Generator) -> Tensor:
    """[rows, L] bool: one label each, drawn by frequency, and others beside it, `mean_labels` in the mean."""
    share = 1 / torch.arange(1.0, labelling.classes + 1) ** labelling.skew
    share /= share.sum()
    first = torch.multinomial(share, rows, replacement=True, generator=random)
    beside = share * (labelling.mean_labels - 1) / (share * (1 - share)).sum()
    labels = torch.rand(rows, labelling.classes, generator=random) < beside
    labels[torch.arange(rows), first] = True
    return labels


def _codebooks(x: Tensor) -> Tensor:
    """Residual codebooks [M, K, D]: halves of residuals of `x`, as k-means would take longer than the benchmark."""
    codebooks, residual = [], x
    for level in range(LEVELS):
        codebook = residual[level * CODEBOOK_SIZE :][:CODEBOOK_SIZE] / 2
        residual = residual - codebook[affinities(residual, codebook, "l2").argmax(dim=1)]
        codebooks.append(codebook)
    return torch.stack(codebooks)
