"""Seeded draws of images, the same for every run on the same splits. Axes: N images, L classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpq.protocols import Dataset
from dpq.protocols.base import seeded_order
from dpq.ranking.ties import Ints
from dpq.seeds import derive_seed

SEED = 0


def first_labels(labels: NDArray[np.bool_]) -> Ints:
    """The class that an image counts for, [N], from labels [N, L]; -1 without a label."""
    return np.where(labels.any(axis=1), labels.argmax(axis=1), -1)


def shuffled(items: int, axis: str) -> Ints:
    """A permutation of `range(items)`, with a seed of its own for every axis of randomness."""
    return np.array(seeded_order([str(i) for i in range(items)], derive_seed(SEED, axis)), dtype=np.int64)


def class_rounds(labels: NDArray[np.bool_], axis: str) -> tuple[Ints, Ints]:
    """Rows of all images with a label, dealt in rounds: in each round one image of every class that has one left.

    So the first n rows are a class-balanced draw, whatever n is.

    Args:
        labels: [N, L]; an image counts for its first one.
        axis: of randomness.

    Returns:
        Rows and their rounds, ascending from 0.
    """
    classes, order = first_labels(labels), shuffled(len(labels), axis)
    order = order[classes[order] >= 0]
    rounds = np.empty_like(order)
    for c in np.unique(classes[order]):
        of_class = classes[order] == c
        rounds[of_class] = np.arange(of_class.sum())
    by_round = np.argsort(rounds, kind="stable")
    return order[by_round], rounds[by_round]


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the label columns of queries and database."""
    return tuple(dataset.facts["unseen"] if dataset.unseen else dataset.classes)
