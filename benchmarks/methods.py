"""The registry: the methods that `--method` knows, each built from an experiment and a data set."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.dqn import DQN
from baselines.dtq import DTQ
from baselines.label_code import LabelCode, check_classes
from baselines.pq import PQ
from baselines.rq import RQ
from benchmarks import plugins
from benchmarks.config import Experiment, method_config
from dpq.backbone import Backbone, WeightFile, read_weights
from dpq.errors import InputError
from dpq.label_vectors import orthonormal_label_vectors, read_label_vectors
from dpq.model import DPQ
from dpq.on_embeddings import EmbeddingQuantizer, FrozenFeatures, Source
from dpq.protocols import Dataset, Split
from dpq.registry import MethodContext
from dpq.seeds import derive_seed
from dpq.settings import Method

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Context:
    """What a method is built from.

    Attributes:
        experiment: with the variant's switches written out; its longest code is trained.
        dataset: for classes and labels.
        ingredients: weights and label vectors.
        seed: master seed.
        device: where frozen features are computed.
        source: where embeddings come from, for methods that quantize those of another.
    """

    experiment: Experiment
    dataset: Dataset
    ingredients: Ingredients
    seed: int
    device: torch.device
    source: Source | None = None


@dataclass(frozen=True)
class Entry:
    """One registered method.

    Attributes:
        build: makes an untrained one.
        progressive: a prefix of a code is itself a code, so one training serves every length.
        title: name in tables and figures, and in the papers' numbers.
        features: what its codes are made of, where that is not the method's own training.
        configs: tables of settings that decide its numbers; the first is its own and holds its score.
        source: "backbone" for frozen features, or the registered method whose predictions are quantized.
        variants: of which it has.
        check: refuses training images and codebook sizes K that it is not made for.
        plugin: where it comes from, if not from this repository.
    """

    build: Callable[[Context], Method]
    progressive: bool
    title: str
    features: str = ""
    configs: tuple[str, ...] = ()
    source: str | None = None
    variants: tuple[str, ...] = ("paper",)
    check: Callable[[Split, int], None] | None = None
    plugin: plugins.Plugin | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """What a record says of where the method comes from; nothing of this repository's."""
        return {"plugin": self.plugin.origin} if self.plugin else {}


def _backbone(context: Context, classes: int) -> Backbone:
    setting = context.experiment.backbone
    dropout, weights = context.experiment.training.dropout, context.ingredients.weights
    return Backbone(setting.name, classes, setting.embedding_dim, dropout, weights)


def _dpq(context: Context) -> DPQ:
    return DPQ(
        _backbone(context, len(context.dataset.classes)),
        context.ingredients.label_vectors,
        context.experiment.methods.dpq,
        bits=max(context.experiment.bits),
        codebook_size=context.experiment.codebook_size,
        multi_label=bool((context.dataset.train.labels.sum(dim=1) > 1).any()),
    )


def _alternating(kind: type[DQN] | type[DTQ]) -> Callable[[Context], Method]:
    def build(context: Context) -> Any:
        experiment = context.experiment
        config = getattr(experiment.methods, kind.name)
        return kind(_backbone(context, 0), config, bits=max(experiment.bits), codebook_size=experiment.codebook_size)

    return build


def frozen_features(context: Context) -> FrozenFeatures:
    """The backbone as its weights came; without any, the same random network whatever the run's seed."""
    experiment, weights = context.experiment, context.ingredients.weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "weights"))
        return FrozenFeatures(experiment.backbone.name, weights, experiment.training, context.device)


def _source(context: Context) -> Source:
    """Where a method takes the embeddings from that it quantizes: of a run's source, or frozen features."""
    return context.source or frozen_features(context)


def _on_embeddings(kind: type[EmbeddingQuantizer]) -> Callable[[Context], Method]:
    def build(context: Context) -> EmbeddingQuantizer:
        return kind(_source(context), max(context.experiment.bits), context.experiment.codebook_size)

    return build


# In the order in which tables list them: shallow before deep, the paper's own method last, then the controls.
BUILT_IN: dict[str, Entry] = {
    "pq": Entry(_on_embeddings(PQ), PQ.progressive, "PQ", "frozen features", ("pq",), "backbone"),
    "rq": Entry(_on_embeddings(RQ), RQ.progressive, "RQ", "frozen features", ("rq",), "backbone"),
    "dqn": Entry(_alternating(DQN), DQN.progressive, "DQN", configs=("dqn",)),
    "dtq": Entry(_alternating(DTQ), DTQ.progressive, "DTQ", configs=("dtq",), variants=VARIANTS),
    "dpq": Entry(_dpq, DPQ.progressive, "DPQ", configs=("dpq",), variants=VARIANTS),
    "pq-dpq": Entry(_on_embeddings(PQ), PQ.progressive, "PQ", "DPQ's embedding", ("dpq", "pq"), "dpq"),
    "rq-dpq": Entry(_on_embeddings(RQ), RQ.progressive, "RQ", "DPQ's embedding", ("dpq", "rq"), "dpq"),
    "label-code": Entry(
        _on_embeddings(LabelCode),
        LabelCode.progressive,
        "Label code",
        "DPQ's classifier",
        ("dpq",),
        "dpq",
        check=check_classes,
    ),
}

# What codes are made of that quantize a source, in titles.
_FEATURES = {"backbone": BUILT_IN["pq"].features, "dpq": BUILT_IN["pq-dpq"].features}


def _entry_of(name: str, plugin: plugins.Plugin) -> Entry:
    """A method of another package, as this repository's are registered."""
    offered = plugin.entry

    def build(context: Context) -> Method:
        experiment = context.experiment
        return offered.build(
            MethodContext(
                method_config(experiment, name),
                max(experiment.bits),
                experiment.codebook_size,
                len(context.dataset.classes),
                context.ingredients.label_vectors,
                partial(_backbone, context),
                None if offered.source is None else _source(context),
            )
        )

    return Entry(
        build,
        offered.progressive,
        offered.title,
        _FEATURES[offered.source] if offered.source else "",
        (name,) if offered.source != "dpq" else ("dpq", name),
        offered.source,
        check=offered.check,
        plugin=plugin,
    )


METHODS = plugins.Registry(BUILT_IN, _entry_of, reserved=("all", *_FEATURES))


def build_method(name: str, context: Context) -> Method:
    """A fresh, untrained method; its random weights come from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(context.seed, "weights"))
        return METHODS[name].build(context)


def suited(methods: Sequence[str], train: Split, codebook_size: int, *, named: bool) -> list[str]:
    """The methods that are made for these training images; those that nobody named are left out where they are not.

    Raises:
        InputError: a method was named that is not.
    """
    kept = []
    for name in methods:
        check = METHODS[name].check
        try:
            if check is not None:
                check(train, codebook_size)
        except InputError as error:
            if named:
                raise
            log.info("left out: %s", error)
        else:
            kept.append(name)
    return kept


def score_of(name: str, experiment: Experiment) -> Any:
    """How a method ranks: quantizers of another method's embeddings rank as that method does."""
    return method_config(experiment, METHODS[name].configs[0]).score


def query_precision_of(name: str, experiment: Experiment) -> str:
    """The precision that queries are rounded to before ranking; DPQ's released code has a lower one."""
    return str(getattr(method_config(experiment, METHODS[name].configs[0]), "query_precision", "float32"))


def recorded_query_precision(record: dict[str, Any]) -> str:
    """As `query_precision_of`, of the run that a record is of."""
    config = record["config"]["methods"][METHODS[record["method"]].configs[0]]
    return str(config.get("query_precision", "float32"))


def with_variant(experiment: Experiment, variant: str) -> Experiment:
    """The experiment with the variant's switches written out, as the record keeps it."""
    if variant == "paper":
        return experiment
    methods = experiment.methods
    return replace(experiment, methods=replace(methods, dpq=methods.dpq.released(), dtq=methods.dtq.released()))


def check_files(experiment: Experiment) -> None:
    """Refuse weights or label vectors that are not there, which needs no data set.

    Raises:
        InputError: names the file.
    """
    if experiment.backbone.weights not in ("timm", "none"):
        read_weights(Path(experiment.backbone.weights))
    if experiment.label_vectors != "orthonormal" and not Path(experiment.label_vectors).is_file():
        raise InputError(f"cannot read label vectors from {experiment.label_vectors}: there is no such file")


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
    return with_label_vectors(weights, experiment, dataset)


def with_label_vectors(weights: WeightFile | str | None, experiment: Experiment, dataset: Dataset) -> Ingredients:
    """Weights that were read before, and the label vectors that the experiment names.

    Raises:
        InputError: the file is missing, unreadable or does not fit.
    """
    classes, dim = len(dataset.classes), experiment.backbone.embedding_dim
    if experiment.label_vectors == "orthonormal":
        return Ingredients(weights, orthonormal_label_vectors(classes, dim), {"source": "orthonormal"})
    path = Path(experiment.label_vectors)
    vectors = read_label_vectors(path, classes, dim)
    source = {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Ingredients(weights, vectors, source)
