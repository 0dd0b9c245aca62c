"""Untrained methods, from an experiment and a data set; and the files that they need besides the images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.setting.experiment import Experiment
from benchmarks.setting.methods import METHODS
from dpq.codes.additive import check_enough
from dpq.errors import InputError
from dpq.files.places import is_file
from dpq.learning.backbone import Backbone, Head, WeightFile, check_backbone, read_weights
from dpq.learning.entry import Method, MethodContext, Source
from dpq.learning.on_embeddings import FrozenFeatures
from dpq.method.label_vectors import orthonormal_label_vectors, read_label_vectors
from dpq.protocols import Dataset
from dpq.protocols.base import images_per_class
from dpq.seeds import derive_seed, seeded


@dataclass(frozen=True)
class Ingredients:
    """What runs are made from, read once for all of them."""

    dataset: Dataset
    weights: WeightFile | str | None  # of the backbone: a file, "timm", or None
    label_vectors: Tensor  # [L, D]
    label_vectors_source: dict[str, Any]  # what the record says of them

    @property
    def recorded_weights(self) -> dict[str, Any]:
        """Name and digest of the backbone's weights, as a record keeps them."""
        if isinstance(self.weights, WeightFile):
            return {"weights": self.weights.name, "weights_sha256": self.weights.sha256}
        return {"weights": self.weights or "none", "weights_sha256": None}


def build_method(
    name: str, experiment: Experiment, ingredients: Ingredients, seed: int, source: Source | None = None
) -> Method:
    """A fresh, untrained method; its random weights come from the seed.

    Args:
        name: of the method.
        experiment: with the variant's switches written out; its longest code is to be trained.
        ingredients: weights, label vectors, and the data set, for classes and labels.
        seed: master seed.
        source: of the embeddings, for a method that quantizes those of another.
    """
    method, network, train = METHODS[name], experiment.backbone, ingredients.dataset.train

    def backbone(classes: int, embedding_dim: int = 0, head: Head = "tanh") -> Backbone:
        training, dim = experiment.training, embedding_dim or network.embedding_dim
        return Backbone(network.name, classes, dim, training.dropout, ingredients.weights, training.image_size, head)

    context = MethodContext(
        experiment.settings_of(method.table) if method.table else None,
        max(experiment.bits),
        experiment.codebook_size,
        len(ingredients.dataset.classes),
        ingredients.label_vectors,
        backbone,
        source,
        bool((train.labels.sum(dim=1) > 1).any()),
        method.source == "backbone",
    )
    with seeded(derive_seed(seed, "weights")):
        return method.entry.build(context)


def frozen_features(experiment: Experiment, ingredients: Ingredients, device: torch.device) -> FrozenFeatures:
    """The backbone as its weights came; without any, the same random network whatever the run's seed."""
    with seeded(derive_seed(0, "weights")):
        return FrozenFeatures(experiment.backbone.name, ingredients.weights, experiment.training, device)


def check_setting(experiment: Experiment, methods: Sequence[str]) -> None:
    """Refuse what no images can mend, before hours of decoding.

    Args:
        experiment: with the variant's switches written out.
        methods: to be run.

    Raises:
        InputError: weights or label vectors are not there; the backbone is unknown, or not for this image size, these
            weights or batches of one image; a method would be trained in no epoch.
    """
    tables = [table for name in methods for table in METHODS[name].configs]
    settings = {table: experiment.settings_of(table) for table in tables}
    for one in settings.values():
        if check := getattr(one, "check_training", None):
            check(experiment.training)
    deep = [settings.get(METHODS[name].configs[0]) for name in methods if METHODS[name].source != "backbone"]
    learns = any(getattr(one, "train_backbone", True) for one in deep)
    check_backbone(experiment.backbone.name, _weights(experiment), experiment.training, learns=learns)
    if experiment.label_vectors != "orthonormal" and not is_file(experiment.label_vectors):
        raise InputError(f"cannot read label vectors from {experiment.label_vectors}: there is no such file")


def check_sizes(experiment: Experiment, train: int, classes: int) -> None:
    """Refuse a setting that these images are not enough for, before they are decoded.

    Args:
        experiment: to be run on them.
        train: number of training images, at most.
        classes: number of classes.

    Raises:
        InputError: too low a limit, fewer images than codewords, or label vectors that do not fit.
    """
    if experiment.limit is not None:
        train = min(train, images_per_class(experiment.limit, classes) * classes)
    check_enough(train, experiment.codebook_size)
    _label_vectors(experiment, classes)


def _label_vectors(experiment: Experiment, classes: int) -> Tensor:
    dim = experiment.backbone.embedding_dim
    if experiment.label_vectors == "orthonormal":
        return orthonormal_label_vectors(classes, dim)
    return read_label_vectors(Path(experiment.label_vectors), classes, dim)


def _weights(experiment: Experiment) -> WeightFile | str | None:
    named = experiment.backbone.weights
    if named == "timm":
        return named
    return None if named == "none" else read_weights(Path(named))


def read_ingredients(experiment: Experiment, dataset: Dataset, read: Ingredients | None = None) -> Ingredients:
    """Read the backbone's weights and the label vectors that the experiment names.

    Args:
        experiment: names the files.
        dataset: of the experiment.
        read: for another experiment with the same weights, which are taken from there.

    Raises:
        InputError: a file is missing, unreadable or does not fit.
    """
    weights = read.weights if read else _weights(experiment)
    vectors = _label_vectors(experiment, len(dataset.classes))
    if experiment.label_vectors == "orthonormal":
        return Ingredients(dataset, weights, vectors, {"source": "orthonormal"})
    path = Path(experiment.label_vectors)
    source = {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Ingredients(dataset, weights, vectors, source)
