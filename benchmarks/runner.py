"""Carries out the runs of an experiment: train, encode, evaluate, write the record."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.config import Experiment, describe
from benchmarks.environment import describe_environment, peak_memory_mb
from benchmarks.evaluation import evaluate_lengths, reconstruction_errors
from benchmarks.methods import Ingredients, build_method, with_variant
from benchmarks.records import SCHEMA_VERSION, RawResult, digest, read_record, record_path, write_raw, write_record
from dpq.additive import levels_for
from dpq.backbone import WeightFile
from dpq.model import DPQ, codeword_usage
from dpq.protocols import Dataset
from dpq.ranking import evaluate_embeddings
from dpq.settings import Execution, TrainLog

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One record to be: a method, a variant and a seed in one setting.

    Attributes:
        experiment: with the variant's switches written out.
        method: name.
        variant: "paper" or "released".
        seed: master seed.
        output: folder of all results.
        identity: file name of the record; a function of everything that decides its numbers.
        training: file name of the checkpoint; a function of everything that decides the trained weights, so that
            one training serves several ways of evaluating it.
    """

    experiment: Experiment
    method: str
    variant: str
    seed: int
    output: Path
    identity: str
    training: str

    @property
    def record(self) -> Path:
        """The record's path; the raw codes lie beside it as `.npz`."""
        return record_path(self.output, self.experiment.name, self.identity)

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser and log after the last finished epoch."""
        return self.output / self.experiment.name / "checkpoints" / f"{self.training}.safetensors"


def plan(
    experiment: Experiment,
    dataset: Dataset,
    ingredients: Ingredients,
    *,
    methods: list[str],
    seeds: list[int],
    variant: str,
    output: Path,
) -> list[Run]:
    """The runs that a call asks for, done or not."""
    complete = with_variant(experiment, variant)
    runs = []
    for method in methods:
        setting = _config(complete, ingredients, method) | {
            "fingerprint": dataset.fingerprint,
            "weights_sha256": _weights(ingredients)["weights_sha256"],
        }
        training = {k: v for k, v in setting["training"].items() if k != "evaluation_views"}
        for seed in seeds:
            stem = f"{method}-{variant}-seed{seed}"
            trained = f"{stem}-{digest(setting | {'training': training})}"
            runs.append(Run(complete, method, variant, seed, output, f"{stem}-{digest(setting)}", trained))
    return runs


def _config(experiment: Experiment, ingredients: Ingredients, method: str) -> dict[str, Any]:
    table = describe(experiment, method)
    table["backbone"]["weights"] = _weights(ingredients)["weights"]  # the file's name: its folder decides nothing
    table["label_vectors"] = ingredients.label_vectors_source
    return table


def _weights(ingredients: Ingredients) -> dict[str, Any]:
    weights = ingredients.weights
    if isinstance(weights, WeightFile):
        return {"weights": weights.name, "weights_sha256": weights.sha256}
    return {"weights": weights or "none", "weights_sha256": None}


def carry_out(
    run: Run, dataset: Dataset, ingredients: Ingredients, device: torch.device, *, force: bool = False
) -> dict[str, Any]:
    """Do what is left of a run and return its record.

    A run whose record exists is only read. An interrupted training goes on from its checkpoint. With `force`
    everything is done again.
    """
    if force:
        for old in (run.record, run.checkpoint):
            old.unlink(missing_ok=True)
    if run.record.exists():
        return read_record(run.record)
    environment = describe_environment(device)  # before training: sources may change meanwhile
    method = build_method(run.experiment, dataset, ingredients, run.seed)
    training = run.experiment.training
    trained = method.fit(dataset.train, training, run.seed, Execution(device, run.checkpoint))
    record, raw = _measure(run, method, trained, dataset, device)
    record = _header(run, dataset, ingredients, method) | record | {"environment": environment}
    record["config"] = _config(run.experiment, ingredients, run.method)
    write_raw(run.record.with_suffix(".npz"), raw)
    write_record(run.record, record)
    return record


def _header(run: Run, dataset: Dataset, ingredients: Ingredients, method: DPQ) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "id": run.identity,
        "experiment": run.experiment.name,
        "protocol": dataset.protocol,
        "method": run.method,
        "variant": run.variant,
        "seed": run.seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": dataset.protocol,
            "variant": dataset.name,
            "fingerprint": dataset.fingerprint,
            "train": len(dataset.train),
            "query": len(dataset.query),
            "database": len(dataset.database),
        },
        "backbone": {
            "name": run.experiment.backbone.name,
            **_weights(ingredients),
            "image_size": run.experiment.training.image_size,
            "embedding_dim": run.experiment.backbone.embedding_dim,
            "mean": list(method.backbone.preprocessing.mean),
            "std": list(method.backbone.preprocessing.std),
            "interpolation": method.backbone.preprocessing.interpolation,
        },
        "score": run.experiment.methods.dpq.score,
        "ap_denominator": dataset.denominator,
        "cut": dataset.cut,
    }


def _measure(
    run: Run, method: DPQ, trained: TrainLog, dataset: Dataset, device: torch.device
) -> tuple[dict[str, Any], RawResult]:
    config = run.experiment.methods.dpq
    started = time.perf_counter()
    queries, logits = method.predict(dataset.query.images, progress=True)
    embeddings = method.embed(dataset.database.images, progress=True)
    codes = method.encode(embeddings)
    encoded = time.perf_counter()
    codebooks = method.codebooks.float().cpu()
    raw = RawResult(
        codes.numpy(),
        codebooks.numpy(),
        queries.numpy(),
        dataset.query.labels.numpy(),
        dataset.database.labels.numpy(),
    )
    lengths = evaluate_lengths(
        raw, list(run.experiment.bits), dataset.cut, config.score, config.query_precision, progress=True
    )
    errors = reconstruction_errors(embeddings, codes, codebooks)
    for entry in lengths:
        entry["reconstruction_mse"] = errors[levels_for(entry["bits"], run.experiment.codebook_size) - 1]
    float_map = evaluate_embeddings(
        queries, dataset.query.labels, embeddings, dataset.database.labels, dataset.cut, config.score, progress=True
    )
    correct = dataset.query.labels[torch.arange(len(logits)), logits.argmax(dim=1)]
    evaluated = time.perf_counter()
    images = len(dataset.query) + len(dataset.database)
    return {
        "lengths": lengths,
        "float_map": float_map,
        "embedding_mean_squared_norm": float(embeddings.square().sum(dim=1).mean()),
        "classification_accuracy": float(correct.float().mean()),
        "queries_without_relevant": lengths[0]["queries_without_relevant"],
        **codeword_usage(codes, codebooks.shape[1]),
        "seconds": {
            "train": round(trained.seconds, 2),
            "encode": round(encoded - started, 2),
            "evaluate": round(evaluated - encoded, 2),
        },
        "images_per_second": {
            "train": round(trained.images_per_second, 1),
            "encode": round(images / (encoded - started), 1),
        },
        "peak_memory_mb": peak_memory_mb(device),
        "training_log": trained.epochs,
    }, raw


def pending(runs: list[Run]) -> Iterator[Run]:
    """The runs that have no record yet."""
    return (run for run in runs if not run.record.exists())
