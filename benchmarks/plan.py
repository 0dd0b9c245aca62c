"""What a call is to do: its runs, and where each of them keeps what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ablations import WORDS
from benchmarks.building import Ingredients, with_label_vectors
from benchmarks.config import Experiment, describe
from benchmarks.locks import lock_path
from benchmarks.methods import METHODS, reported_lengths, with_variant
from benchmarks.records import digest, record_path
from dpq.backbone import WeightFile
from dpq.protocols import Dataset


@dataclass(frozen=True)
class Run:
    """One record to be: a method, a variant and a seed in one setting.

    Attributes:
        experiment: with the variant's switches written out; its longest code is trained, its `bits` are reported.
        method: name.
        variant: "paper" or "released".
        seed: master seed.
        output: folder of all results.
        identity: file name of the record; a function of everything that decides its numbers.
        training: file name of the checkpoint; a function of everything that decides the trained weights, so that
            one training serves several ways of evaluating it.
        features: file name of the checkpoint after the feature epochs, which trainings of other code lengths start
            from; None where one training serves all lengths.
        source: the run whose embeddings this one quantizes.
        ablation: name of the one change that was made to the setting; None for the setting itself.
        ablation_of: identity of the run without that change.
        call: experiment and changed settings of the command that made it (`benchmarks.overrides.recorded_call`).
    """

    experiment: Experiment
    method: str
    variant: str
    seed: int
    output: Path
    identity: str
    training: str
    features: str | None = None
    source: Run | None = None
    ablation: str | None = None
    ablation_of: str | None = None
    call: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The command of this one record, without what decides no number: where data are, on what it is computed.

        What is asked for stands before `--seeds`, then seed, split and lengths, and last the changes of the setting.
        """
        experiment, *changes = self.call
        named = ["--ablation", self.ablation] if self.ablation else ["--method", self.method]
        if self.ablation == WORDS:
            changes += ["--label-vectors", Path(self.experiment.label_vectors).name]
        lengths = {*self.experiment.bits, *(self.source.experiment.bits if self.source else ())}
        return [
            "run",
            experiment,
            *named,
            *(["--variant", self.variant] if self.variant != "paper" else []),
            *("--seeds", str(self.seed), "--split-seeds", str(self.experiment.split_seed)),
            *("--bits", ",".join(map(str, sorted(lengths)))),
            *changes,
        ]

    @property
    def record(self) -> Path:
        """The record's path; the raw codes lie beside it as `.npz`."""
        return record_path(self.output, self.experiment.name, self.identity)

    @property
    def folder(self) -> Path:
        """Where everything of the experiment lies."""
        return self.output / self.experiment.name

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser and log after the last finished epoch."""
        return self.folder / "checkpoints" / f"{self.training}.safetensors"

    @property
    def feature_checkpoint(self) -> Path | None:
        """Weights, optimiser and log after the feature epochs, which other code lengths share."""
        return self.folder / "checkpoints" / f"{self.features}.safetensors" if self.features else None

    @property
    def lock(self) -> Path:
        """The lock of all that this run trains or stores; runs that share any of it share the lock."""
        shared = self.source.training if self.source else self.features or self.training
        if METHODS[self.method].source == "backbone":
            shared = "frozen-features"
        return lock_path(self.folder, shared)

    @property
    def embeddings(self) -> Path:
        """Folder of the stored embeddings, for methods whose embeddings other runs quantize."""
        return self.folder / "embeddings" / self.identity


def plan(
    experiment: Experiment,
    dataset: Dataset,
    ingredients: Ingredients,
    *,
    methods: list[str],
    seeds: list[int],
    variant: str,
    output: Path,
    call: tuple[str, ...] = (),
) -> list[Run]:
    """The runs that a call asks for, done or not, in the order of the registry."""
    complete = with_variant(experiment, variant)
    make = partial(_make_run, complete, dataset, ingredients, variant, output, call)
    runs = []
    for seed in seeds:
        for method in sorted(methods, key=list(METHODS).index):
            entry = METHODS[method]
            source = make(entry.source, seed, complete.bits) if entry.source and entry.source in METHODS else None
            runs += [make(method, seed, bits, source) for bits in reported_lengths(method, complete.bits)]
    return runs


def _make_run(
    experiment: Experiment,
    dataset: Dataset,
    ingredients: Ingredients,
    variant: str,
    output: Path,
    call: tuple[str, ...],
    method: str,
    seed: int,
    bits: tuple[int, ...],
    source: Run | None = None,
    ablation: str | None = None,
) -> Run:
    experiment = replace(experiment, bits=bits)
    setting = recorded_config(experiment, ingredients, method, source) | {
        "fingerprint": dataset.fingerprint,
        "weights_sha256": recorded_weights(ingredients)["weights_sha256"],
        **METHODS[method].origin,
    }
    trained = setting | {"training": {k: v for k, v in setting["training"].items() if k != "evaluation_views"}}
    stem = "-".join([method, variant, *([ablation] if ablation else []), f"seed{seed}"])
    features = None
    if not METHODS[method].progressive:
        if METHODS[method].source is None:
            features = f"{stem}-features-{digest({k: v for k, v in trained.items() if k != 'bits'})}"
        stem = f"{stem}-{max(bits)}bits"
    return Run(
        experiment,
        method,
        variant,
        seed,
        output,
        identity=f"{stem}-{digest(setting)}",
        training=f"{stem}-{digest(trained if METHODS[method].source is None else setting)}",
        features=features,
        source=source,
        ablation=ablation,
        call=call,
    )


def plan_ablations(
    base: list[Run], settings: Mapping[str, Experiment], dataset: Dataset, ingredients: Ingredients
) -> dict[Run, Ingredients]:
    """The same runs in the setting of every ablation, by its name; each with the label vectors of that setting.

    Raises:
        InputError: label vectors are missing, unreadable or do not fit.
    """
    made: dict[Run, Ingredients] = {}
    for name, experiment in settings.items():
        own = with_label_vectors(ingredients.weights, experiment, dataset)
        make = partial(_make_run, experiment, dataset, own)
        for run in base:
            bits = run.experiment.bits
            changed = make(run.variant, run.output, run.call, run.method, run.seed, bits, ablation=name)
            made[replace(changed, ablation_of=run.identity)] = own
    return made


def recorded_config(
    experiment: Experiment, ingredients: Ingredients, method: str, source: Run | None = None
) -> dict[str, Any]:
    """The configuration as a record keeps it; with the longest code that its source was trained for, if it has one."""
    table = describe(experiment, METHODS[method].configs)
    if source is not None:
        table["source"] = {"method": source.method, "bits": max(source.experiment.bits)}
    # The file's name: its folder decides nothing.
    table["backbone"]["weights"] = recorded_weights(ingredients)["weights"]
    table["label_vectors"] = ingredients.label_vectors_source
    return table


def recorded_weights(ingredients: Ingredients) -> dict[str, Any]:
    """Name and digest of the backbone's weights, as a record keeps them."""
    weights = ingredients.weights
    if isinstance(weights, WeightFile):
        return {"weights": weights.name, "weights_sha256": weights.sha256}
    return {"weights": weights or "none", "weights_sha256": None}
