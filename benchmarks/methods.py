"""The methods that `--method` knows, each built from an experiment and a data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.config import Experiment
from dpq.backbone import Backbone, WeightFile, read_weights
from dpq.config import DPQConfig
from dpq.label_vectors import orthonormal_label_vectors, read_label_vectors
from dpq.model import DPQ
from dpq.protocols import Dataset
from dpq.seeds import derive_seed

METHODS = ("dpq",)
VARIANTS = ("paper", "released")


@dataclass(frozen=True)
class Ingredients:
    """Files that a run reads besides the images, read once for all runs.

    Attributes:
        weights: of the backbone: a file, "timm", or None.
        label_vectors: [L, D].
        label_vectors_source: what the record says of them.
    """

    weights: WeightFile | str | None
    label_vectors: Tensor
    label_vectors_source: dict[str, Any]


def read_ingredients(experiment: Experiment, dataset: Dataset) -> Ingredients:
    """Read the backbone's weights and the label vectors that the experiment names.

    Raises:
        InputError: a file is missing, unreadable or does not fit.
    """
    weights: WeightFile | str | None = experiment.backbone.weights
    if weights == "none":
        weights = None
    elif weights != "timm":
        weights = read_weights(Path(str(weights)))
    classes, dim = len(dataset.classes), experiment.backbone.embedding_dim
    if experiment.label_vectors == "orthonormal":
        return Ingredients(weights, orthonormal_label_vectors(classes, dim), {"source": "orthonormal"})
    path = Path(experiment.label_vectors)
    vectors = read_label_vectors(path, classes, dim)
    source = {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Ingredients(weights, vectors, source)


def variant_config(experiment: Experiment, variant: str) -> DPQConfig:
    """DPQ's settings in a variant."""
    config = experiment.methods.dpq
    return config.released() if variant == "released" else config


def with_variant(experiment: Experiment, variant: str) -> Experiment:
    """The experiment with the variant's switches written out, as the record keeps it."""
    return replace(experiment, methods=replace(experiment.methods, dpq=variant_config(experiment, variant)))


def build_method(experiment: Experiment, dataset: Dataset, ingredients: Ingredients, seed: int) -> DPQ:
    """A fresh, untrained DPQ; its random weights come from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        backbone = Backbone(
            experiment.backbone.name,
            len(dataset.classes),
            experiment.backbone.embedding_dim,
            experiment.training.dropout,
            ingredients.weights,
        )
        return DPQ(
            backbone,
            ingredients.label_vectors,
            experiment.methods.dpq,
            bits=max(experiment.bits),
            codebook_size=experiment.codebook_size,
            multi_label=bool((dataset.train.labels.sum(dim=1) > 1).any()),
        )
