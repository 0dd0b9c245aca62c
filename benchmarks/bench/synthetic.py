"""Generated data at the size of a real set, for measuring speed.

Axes: Q queries, N database, D dimensions, M levels, K codewords, L classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpq.additive import affinities, encode

BITS = (8, 16, 24, 32)
LABELS, MEAN_LABELS, DIM, LEVELS, CODEBOOK_SIZE = 21, 2.1, 300, 4, 256
NOISE = 3.0  # beside label centres of unit variance
FITTED = 2560  # embeddings that the codebooks are taken from
BLOCK = 8192  # embeddings in memory at once


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


def coded_set(queries: int, database: int, seed: int = 0) -> CodedSet:
    """Images with labels like those of NUS-WIDE: 2.1 of 21 each, some of them far more frequent than others.

    An embedding is the mean of its labels' centres, with noise that makes most of the longest codes differ, which
    is the slow case.
    """
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(LABELS, DIM, generator=random)
    codebooks = _codebooks(_embeddings(_labels(FITTED, random), centres, random))
    query_labels, database_labels = _labels(queries, random), _labels(database, random)
    blocks = (database_labels[start : start + BLOCK] for start in range(0, database, BLOCK))
    codes = torch.cat([encode(_embeddings(block, centres, random), codebooks) for block in blocks])
    return CodedSet(_embeddings(query_labels, centres, random), query_labels, codes, database_labels, codebooks)


def _labels(rows: int, random: torch.Generator) -> Tensor:
    """[rows, L] bool: one label each, drawn by frequency (Zipf), and others beside it, `MEAN_LABELS` in the mean."""
    share = 1 / torch.arange(1.0, LABELS + 1)
    share /= share.sum()
    first = torch.multinomial(share, rows, replacement=True, generator=random)
    beside = share * (MEAN_LABELS - 1) / (share * (1 - share)).sum()
    labels = torch.rand(rows, LABELS, generator=random) < beside
    labels[torch.arange(rows), first] = True
    return labels


def _embeddings(labels: Tensor, centres: Tensor, random: torch.Generator) -> Tensor:
    means = labels.float() @ centres / labels.sum(dim=1, keepdim=True)
    return means + NOISE * torch.randn(means.shape, generator=random)


def _codebooks(x: Tensor) -> Tensor:
    """Residual codebooks [M, K, D]: halves of residuals of `x`, as k-means would take longer than the benchmark."""
    codebooks, residual = [], x
    for level in range(LEVELS):
        codebook = residual[level * CODEBOOK_SIZE :][:CODEBOOK_SIZE] / 2
        residual = residual - codebook[affinities(residual, codebook, "l2").argmax(dim=1)]
        codebooks.append(codebook)
    return torch.stack(codebooks)
