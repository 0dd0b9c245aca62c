"""Generated embeddings, labels and codes at the size of a real set, for measuring speed.

Axes: N images, Q queries, D dimensions, M levels, K codewords, L classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dpq.codes.additive import affinities, encode

DIM, LEVELS, CODEBOOK_SIZE = 300, 4, 256
PARTS = ("train", "database", "queries")


@dataclass(frozen=True)
class Labelling:
    """How images have labels, and how their embeddings scatter around the mean of their labels' centres."""

    classes: int  # L
    mean_labels: float  # of an image
    skew: float  # exponent of Zipf's law for how frequent the classes are; 0 makes them equal
    noise: float  # length of the noise beside centres of length one; decides how many codes differ
    fading: bool = False  # the j-th direction of the noise has a spread of 1/j, as in a trained network; else all alike


NUSWIDE = Labelling(21, 2.1, 1.0, 3.0)  # most of the longest codes differ, which is the slow case
CIFAR10 = Labelling(10, 1.0, 0.0, 1.6)  # about 256, 9,600, 30,000 and 43,000 different codes of 54,000
TRAINED = Labelling(10, 1.0, 0.0, 0.25, fading=True)
CLASSES = TRAINED.classes
ABOUT = (
    f"Embeddings are generated: {CLASSES} class centres of length one in {DIM} dimensions, and noise of length "
    f"{TRAINED.noise:g} around them whose j-th direction has a spread of 1/j. Four levels of 256 codewords then leave "
    "about as much of the squared norm, level by level, as on embeddings of DPQ trained on CIFAR-10: 1.5 %, 0.7 %, "
    "0.5 % and 0.4 %."
)


@dataclass(frozen=True)
class CodedSet:
    """What a ranking needs."""

    queries: Tensor  # [Q, D] float32
    query_labels: Tensor  # [Q, L] bool
    codes: Tensor  # [N, M] uint8
    database_labels: Tensor  # [N, L] bool
    codebooks: Tensor  # [M, K, D] float32


def coded_set(labelling: Labelling, queries: int, database: int) -> CodedSet:
    """Images with labels and codes.

    Queries and codewords are whole 64ths of a centre's spread in one direction, which makes every score exact in
    float32: whatever way it is computed, rankings are the same.
    """
    random = torch.Generator().manual_seed(0)

    def embed(labels: Tensor) -> Tensor:
        return embeddings(labelling, labels, random).mul(DIM**0.5)

    rough = rough_codebooks(embed(_labels(labelling, 2560, random)), LEVELS, CODEBOOK_SIZE)
    codebooks = (rough * 64).round() / 64
    query_labels, database_labels = _labels(labelling, queries, random), _labels(labelling, database, random)
    blocks = torch.split(database_labels, 8192)  # whose embeddings are in memory at once
    codes = torch.cat([encode(embed(block), codebooks) for block in blocks])
    asked = (embed(query_labels) * 64).round() / 64
    return CodedSet(asked, query_labels, codes, database_labels, codebooks)


def clustered(images: int, part: str) -> Tensor:
    """Embeddings [N, D] that quantize like a trained network's: "train", "database" or "queries", of equal classes."""
    random = torch.Generator().manual_seed(1 + PARTS.index(part))
    return embeddings(TRAINED, _labels(TRAINED, images, random), random)


def embeddings(labelling: Labelling, labels: Tensor, random: torch.Generator) -> Tensor:
    """Embeddings [N, D] of images with labels [N, L]; the centres are the same for every generator."""
    shared = torch.Generator().manual_seed(0)
    centres = normalize(torch.randn(labelling.classes, DIM, generator=shared), dim=1)
    noise: Tensor = torch.randn(len(labels), DIM, generator=random)
    if labelling.fading:
        spread = normalize(1 / torch.arange(1.0, DIM + 1), dim=0)
        noise = noise * spread @ torch.linalg.qr(torch.randn(DIM, DIM, generator=shared))[0]
    else:
        noise = noise / DIM**0.5
    means = labels.float() @ centres / labels.sum(dim=1, keepdim=True)
    return means.add(noise, alpha=labelling.noise)


def rough_codebooks(x: Tensor, levels: int, size: int) -> Tensor:
    """Residual codebooks [M, K, D]: halves of residuals of `x`, as k-means would take longer than a benchmark."""
    codebooks, residual = [], x
    for level in range(levels):
        rows = torch.arange(level * size, (level + 1) * size) % len(x)
        codebook = residual[rows] / 2
        residual = residual - codebook[affinities(residual, codebook, "l2").argmax(dim=1)]
        codebooks.append(codebook)
    return torch.stack(codebooks)


def _labels(labelling: Labelling, rows: int, random: torch.Generator) -> Tensor:
    """[rows, L] bool: one label each, drawn by frequency, and others beside it, `mean_labels` in the mean."""
    share = 1 / torch.arange(1.0, labelling.classes + 1) ** labelling.skew
    share /= share.sum()
    first = torch.multinomial(share, rows, replacement=True, generator=random)
    beside = share * (labelling.mean_labels - 1) / (share * (1 - share)).sum()
    labels = torch.rand(rows, labelling.classes, generator=random) < beside
    labels[torch.arange(rows), first] = True
    return labels
