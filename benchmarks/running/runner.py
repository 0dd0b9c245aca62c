"""Carries out the runs of an experiment: train, encode, evaluate, write the record."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from benchmarks.records.raw import COMPACT, RawResult, run_of, write_raw
from benchmarks.records.record import SCHEMA_VERSION, Record, digest
from benchmarks.records.store import read_record, write_record
from benchmarks.running.environment import describe_environment, peak_memory_mb, with_parts
from benchmarks.running.evaluation import decoded_lengths, evaluate_lengths, float_score, reconstruction_errors
from benchmarks.running.features import StoredSource
from benchmarks.running.loading import described
from benchmarks.running.locks import locked, record_lock
from benchmarks.running.plan import Run
from benchmarks.setting.building import frozen_features
from benchmarks.setting.methods import METHODS
from dpq.codes.additive import levels_for
from dpq.files.atomic import sweep
from dpq.learning import distributed
from dpq.learning.entry import Decoder, Method, Source
from dpq.learning.health import code_signs
from dpq.learning.settings import Execution, TrainLog
from dpq.method.dpq import codeword_usage
from dpq.ranking.evaluate import evaluate_embeddings

log = logging.getLogger(__name__)


def carry_out(run: Run, device: torch.device, *, force: bool = False) -> Record:
    """Do what is left of a run and return its record.

    A run whose record exists is only read, unless `force` asks for a new one. An interrupted training goes on from
    its checkpoint. Only inside the run's locks, if another process may write to the same output.
    """
    if run.record.exists() and not force:
        return read_record(run.record)
    # What was being written when a process was killed; `StoredSource` deletes it for stored embeddings.
    files = [run.record, run.record.with_suffix(".npz"), run.checkpoint]
    shared = None if run.stands_alone else run.feature_checkpoint  # another length may read it, and nobody writes it
    for path in [*files, shared, run.source.checkpoint if run.source else None]:
        if path is not None:
            sweep(path)
    environment = describe_environment(device)
    source = _source(run, device, environment)
    method = run.build(source)
    trained = _fit(run, method, device, environment)
    embedder: Source = method
    if run.ablation is None and any(entry.source == run.method for entry in METHODS.own.values()):
        embedder = source = StoredSource(method, run.embeddings, trained, environment)
    measured, raw = _measure(run, method, embedder, source, trained, device)
    parts = [*trained.environments, *(source.environments if source else ())]
    environment = with_parts(environment, parts) | ({"captured": True} if trained.captured else {})
    table = _header(run, method) | measured | {"environment": environment, "config": run.config}
    with locked(record_lock(run.record)):
        write_raw(run.record.with_suffix(".npz"), replace(raw, run=run_of(table)))
        run.record.with_suffix(COMPACT).unlink(missing_ok=True)  # of the record that this one replaces
        return write_record(run.record, table)


def _fit(run: Run, method: Method, device: torch.device, environment: Mapping[str, Any] | None = None) -> TrainLog:
    """Train, in this environment; the first process together with those that `assist`."""
    leads = distributed.leads()
    if leads and METHODS[run.method].source is None:
        distributed.tell(run.training)
    resumed = run.checkpoint.exists()
    execution = Execution(device, run.checkpoint, run.feature_checkpoint, leads, environment=environment)
    trained = method.fit(run.ingredients.dataset.train, run.experiment.training, run.seed, execution)
    if not trained.environments:  # of a method with a training loop of its own
        trained.environments = [None] if resumed else [environment]
    return trained


def assist(runs: Sequence[Run], device: torch.device) -> None:
    """Train with the first process whatever it trains of these runs, until it is done with all of them.

    It alone decides what is to be done, evaluates, and writes.
    """
    known = {run.training: run for run in (*(run.source for run in runs if run.source is not None), *runs)}
    while training := distributed.tell():
        _fit(known[training], known[training].build(), device)


def _source(run: Run, device: torch.device, environment: Mapping[str, Any]) -> StoredSource | None:
    """Where the run's embeddings come from, if not from a training of its own."""
    if METHODS[run.method].source == "backbone":
        decisive = {key: run.config[key] for key in ("backbone", "training")} | run.ingredients.recorded_weights
        folder = run.folder / "embeddings" / f"backbone-{digest(decisive)}"
        features = frozen_features(run.experiment, run.ingredients, device)
        return StoredSource(features, folder, environment=environment)
    if run.source is None:
        return None
    parent = run.source
    method = parent.build()

    def train() -> TrainLog:
        log.info("embeddings of %s", parent.training)
        return _fit(parent, method, device, environment)

    return StoredSource(method, parent.embeddings, train, environment)


def _header(run: Run, method: Method) -> dict[str, Any]:
    dataset = run.ingredients.dataset
    return {
        "schema_version": SCHEMA_VERSION,
        "id": run.identity,
        "experiment": run.experiment.name,
        "protocol": dataset.protocol,
        "method": run.method,
        **METHODS[run.method].origin,
        "variant": run.variant,
        "seed": run.seed,
        **({"ablation": run.ablation, "ablation_of": run.ablation_of} if run.ablation else {}),
        **({"tuned": run.tuned} if run.tuned else {}),
        **({"arguments": run.arguments} if run.call else {}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": described(dataset),
        "backbone": {
            "name": run.experiment.backbone.name,
            **run.ingredients.recorded_weights,
            "image_size": run.experiment.training.image_size,
            "embedding_dim": method.codebooks.shape[2],
            "mean": list(method.preprocessing.mean),
            "std": list(method.preprocessing.std),
            "interpolation": method.preprocessing.interpolation,
        },
        "score": run.experiment.ranking_of(run.method)[0],
        "ap_denominator": dataset.denominator,
        "cut": dataset.cut,
        **({"further_cuts": list(dataset.further_cuts)} if dataset.further_cuts else {}),
    }


def _measure(
    run: Run,
    method: Method,
    embedder: Source,
    source: StoredSource | None,
    trained: TrainLog,
    device: torch.device,
) -> tuple[dict[str, Any], RawResult]:
    dataset = run.ingredients.dataset
    score, precision = run.experiment.ranking_of(run.method)
    read = source.spared if source else 0.0
    started = time.perf_counter()
    queries, logits = embedder.predict(dataset.query.images, progress=True)
    embeddings = embedder.predict(dataset.database.images, progress=True)[0]
    codes = method.encode(embeddings)
    encoded = time.perf_counter()
    gpu = device if device.type == "cuda" else None
    memory = peak_memory_mb(device)  # before the evaluation, whose blocks are as large as a GPU's memory allows
    encoding = encoded - started + (source.spared - read if source else 0.0)
    codebooks = method.codebooks.float().cpu()
    labels = dataset.query.labels, dataset.database.labels
    raw = RawResult(
        codes.numpy(),
        codebooks.numpy(),
        queries.numpy(),
        labels[0].numpy(),
        labels[1].numpy(),
        query_codes=method.encode(queries).numpy(),
    )
    levels = [levels_for(bits, run.experiment.codebook_size) for bits in run.experiment.bits]
    if isinstance(method, Decoder):
        errors, reconstructions = decoded_lengths(method, embeddings, codes, levels)
        raw = replace(raw, reconstructions=reconstructions)
    else:
        by_level = reconstruction_errors(*(each.to(device) for each in (embeddings, codes, codebooks)))
        errors = [by_level[count - 1] for count in levels]
    lengths, averages = evaluate_lengths(
        raw,
        dict(zip(run.experiment.bits, errors, strict=True)),
        dataset.cut,
        score,
        precision,
        further_cuts=dataset.further_cuts,
        coarse=dataset.facts.get("coarse", ()),
        progress=True,
        device=gpu,
    )
    float_map = evaluate_embeddings(
        queries, labels[0], embeddings, labels[1], dataset.cut, float_score(score), progress=True, device=gpu
    )
    evaluated = time.perf_counter()
    images = len(dataset.query) + len(dataset.database)
    accuracy = None  # share of queries whose best class is right; not without a classifier, nor for unseen classes
    if logits.shape[1] and not dataset.unseen:
        accuracy = float(labels[0][torch.arange(len(logits)), logits.argmax(dim=1)].float().mean())
    usage = codeword_usage(codes, codebooks.shape[1])
    return {
        "lengths": [length.table for length in lengths],
        "float_map": float_map,
        "embedding_mean_squared_norm": float(embeddings.square().sum(dim=1).mean()),
        "classification_accuracy": accuracy,
        "queries_without_relevant": lengths[0].queries_without_relevant,
        **usage,
        "seconds": {
            "train": round(trained.seconds, 2),
            "encode": round(encoding, 2),
            "evaluate": round(evaluated - encoded, 2),
        },
        "images_per_second": {
            "train": round(trained.images_per_second, 1),
            "encode": round(images / encoding, 1),
        },
        "peak_memory_mb": memory if gpu else peak_memory_mb(device),
        "training_log": trained.epochs,
        **_warnings(run, embeddings, codes, trained),
    }, replace(raw, average_precision=averages)


def _warnings(run: Run, embeddings: Tensor, codes: Tensor, trained: TrainLog) -> dict[str, list[str]]:
    """Signs of a training that went wrong, said and kept; none of a run that has no training of its own."""
    if METHODS[run.method].source is not None:
        return {}
    found = code_signs(embeddings, codes, run.experiment.codebook_size)
    for sign in found:
        log.warning("warning: %s: %s", run.identity, sign)
    by_epoch = enumerate((report.get("warnings", ()) for report in trained.epochs), 1)
    signs = [f"epoch {epoch}: {sign}" for epoch, several in by_epoch for sign in several] + found
    return {"warnings": signs} if signs else {}
