"""Reconstructed images in the plane, at every code length. Axes: n sampled images, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.exhibits.draws import SEED, class_names, class_rounds, first_labels
from benchmarks.exhibits.exhibit import Points, Projection
from benchmarks.records.raw import RawResult
from benchmarks.records.record import Record
from dpq.codes.additive import decode, levels_for
from dpq.errors import InputError
from dpq.protocols import Dataset
from dpq.seeds import derive_seed

SAMPLED = 1000  # most images
PERPLEXITY = 30
SIDE = 10.0  # coordinates span -10 to 10, in the axis in which they spread more
DECIMALS = 2


def project_lengths(record: Record, raw: RawResult, dataset: Dataset) -> Projection:
    """t-SNE of the same class-balanced sample of the database, reconstructed at every length of the record.

    An image counts for its first label.

    Raises:
        InputError: fewer than two images to show.
    """
    rows = class_rounds(raw.database_labels, "projection")[0][:SAMPLED]
    if len(rows) < 2:
        raise InputError(f"a projection needs two database images with a label; {record.id} has {len(rows)}")
    perplexity = min(PERPLEXITY, max(1, (len(rows) - 1) // 3))  # t-SNE looks at three times as many neighbours
    codes, codebooks = torch.from_numpy(raw.codes[rows]), torch.from_numpy(raw.codebooks)
    lengths = []
    for length in tqdm(record.lengths, "t-SNE", leave=False, disable=None):
        rebuilt = decode(codes, codebooks, levels_for(length.bits, codebooks.shape[1]))
        # Adding zero makes -0.0 plain.
        points = fitted(project(rebuilt.numpy(), perplexity)).round(DECIMALS) + 0.0
        lengths.append(Points(length.bits, tuple((x, y) for x, y in points.tolist())))
    return Projection(
        run=record.id,
        method="t-SNE",
        perplexity=perplexity,
        seed=SEED,
        sampled=len(rows),
        classes=class_names(dataset),
        labels=tuple(first_labels(raw.database_labels[rows]).tolist()),
        lengths=tuple(lengths),
    )


def project(x: NDArray[np.float32], perplexity: float) -> NDArray[np.float64]:
    """t-SNE of `x` [n, D], [n, 2]; equal rows are welcome."""
    from sklearn.manifold import TSNE

    if (x == x[0]).all():  # PCA would divide by a spread of zero
        return np.zeros((len(x), 2))
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=derive_seed(SEED, "projection"))
    return np.asarray(tsne.fit_transform(x), dtype=np.float64)


def fitted(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [n, 2] moved and scaled, alike in both axes, to the square from -`SIDE` to `SIDE`."""
    least, most = points.min(axis=0), points.max(axis=0)
    half = (most - least).max() / 2
    centred = points - (least + most) / 2
    return np.asarray(centred * (SIDE / half) if half > 0 else centred)
