"""What a plan will cost on this machine, from a few timed batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.running.plan import Run
from benchmarks.setting.methods import METHODS
from dpq.learning.on_embeddings import BATCH
from dpq.learning.settings import Execution
from dpq.learning.training import Trainer


def print_plan(runs: list[Run], missing: list[Run], device: torch.device) -> None:
    """Print every run, whether it is done, and an estimate of the time that the `missing` ones need."""
    for run in runs:
        state = "done" if run not in missing else "resume" if run.checkpoint.exists() else "train"
        print(f"{state:7} {run.identity} -> {run.record}")
    dataset = runs[0].ingredients.dataset
    print(
        f"data: {dataset.name}, {len(dataset.train)} train, {len(dataset.query)} query, "
        f"{len(dataset.database)} database"
    )
    if not missing:
        print("nothing to do: every record exists (--force does them again)")
        return
    # The deep runs that have to train: the missing ones, and those whose embeddings others need and nobody kept.
    sources = [run.source for run in missing if run.source is not None and not run.source.embeddings.exists()]
    deep = {run.training: run for run in (*missing, *sources) if METHODS[run.method].source is None}.values()
    own = [run for run in deep if METHODS[run.method].plugin is None]
    if not deep:
        print(f"{len(missing)} runs on {device}: k-means on embeddings that are computed once, no training")
    if len(own) < len(deep):
        print(f"{len(deep) - len(own)} trainings of other packages' methods, whose time only they know")
    if not own:
        return
    # Of a frozen backbone no gradient is computed: it is no measure for the others.
    longest = max(own, key=lambda run: run.experiment.settings_of("dpq").train_backbone)
    train, encode = estimate_seconds(longest, device)
    total = len(own) * (train + encode)
    print(
        f"{len(own)} trainings on {device}: each at most {train / 60:.1f} min training and {encode / 60:.1f} min "
        f"encoding, {total / 60:.0f} min in all (less where runs resume or share feature epochs; k-means "
        "and evaluation come on top)"
    )


def estimate_seconds(run: Run, device: torch.device) -> tuple[float, float]:
    """Seconds for training and for encoding, extrapolated from the third of three batches (two warm up)."""
    method: Any = run.build()
    training, dataset = run.experiment.training, run.ingredients.dataset
    batch = min(training.batch_size, len(dataset.train))
    sample = dataset.train.take(torch.arange(batch))
    method.training_config = training
    trainer = Trainer(method, sample, training, run.seed, Execution(device, progress=False))
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(batch, device=device)
    step = _steady_seconds(lambda: trainer.step(rows, generator, 0), device)
    images = dataset.train.images[:BATCH]
    pass_ = _steady_seconds(lambda: method.predict(images), device)
    steps = training.epochs * (len(dataset.train) // batch)
    return step * steps, pass_ / len(images) * (len(dataset.query) + len(dataset.database))


def _steady_seconds(work: Callable[[], object], device: torch.device) -> float:
    for _ in range(2):
        work()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
