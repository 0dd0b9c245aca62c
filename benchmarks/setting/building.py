"""Untrained methods, from an experiment and a data set; and the files that they need besides the images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.setting.experiment import Experiment
from benchmarks.setting.methods import METHODS
from dpq.errors import InputError
from dpq.learning.backbone import Backbone, WeightFile, read_weights
from dpq.learning.entry import Method, MethodContext, Source
from dpq.learning.on_embeddings import FrozenFeatures
from dpq.method.label_vectors import orthonormal_label_vectors, read_label_vectors
from dpq.protocols import Dataset
from dpq.seeds import derive_seed


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

    def backbone(classes: int) -> Backbone:
        training = experiment.training
        return Backbone(
            network.name, classes, network.embedding_dim, training.dropout, ingredients.weights, training.image_size
        )

    context = MethodContext(
        experiment.settings_of(method.table) if method.table else None,
        max(experiment.bits),
        experiment.codebook_size,
        len(ingredients.dataset.classes),
        ingredients.label_vectors,
        backbone,
        source,
        bool((train.labels.sum(dim=1) > 1).any()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return method.entry.build(context)


def frozen_features(experiment: Experiment, ingredients: Ingredients, device: torch.device) -> FrozenFeatures:
    """The backbone as its weights came; without any, the same random network whatever the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "weights"))
        return FrozenFeatures(experiment.backbone.name, ingredients.weights, experiment.training, device)


def check_files(experiment: Experiment) -> None:
    """Refuse weights or label vectors that are not there, which needs no data set.

    Raises:
        InputError: names the file.
    """
    _weights(experiment)
    if experiment.label_vectors != "orthonormal" and not Path(experiment.label_vectors).is_file():
        raise InputError(f"cannot read label vectors from {experiment.label_vectors}: there is no such file")


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
    classes, dim = len(dataset.classes), experiment.backbone.embedding_dim
    if experiment.label_vectors == "orthonormal":
        return Ingredients(dataset, weights, orthonormal_label_vectors(classes, dim), {"source": "orthonormal"})
    path = Path(experiment.label_vectors)
    vectors = read_label_vectors(path, classes, dim)
    source = {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Ingredients(dataset, weights, vectors, source)
