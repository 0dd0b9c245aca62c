"""A training step of each deep method, and an epoch of DTQ, against forward and backward of the bare backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bench.measure import Work, alternate, clock, ratio
from benchmarks.bench.report import Options, Promise, Report, Table
from benchmarks.bench.setting import (
    bare_body,
    forward_backward,
    generated_split,
    prepared_trainer,
    random_inputs,
    setting,
)
from benchmarks.bench.steps import OUTSIDE, PARTS, step_parts
from benchmarks.setting.experiment import Experiment
from dpq.codes.additive import levels_for
from dpq.learning.settings import Epoch
from dpq.learning.training import Trainer

METHODS = ("dpq", "dqn", "dtq")
STEP_BOUND, EPOCH_BOUND = 1.10, 1.3
BARE, UPDATED = "bare backbone", "bare backbone, with the update of DPQ"
TYPICAL = "later, with codes"
PRECISIONS = ("32", "bf16")
ABOUT = (
    "A whole training step (batch from uint8 images, augmentation, network, quantizer, losses, backward pass, update), "
    "in an epoch that has codes, against forward and backward pass of the bare backbone on a batch that lies ready: "
    "{backbone}, {size} pixels, batches of {batch}, float32, random weights, {levels} levels of {codewords} codewords."
)
Seconds = Mapping[str, Sequence[float]]


def measure(options: Options) -> Report:
    """Steps, their parts, an epoch of DTQ, and what bf16 and compilation would give."""
    experiment, device = setting(options), options.device
    few = generated_split(options.size(512, 256))
    trainers = {name: prepared_trainer(name, experiment, few, device) for name in METHODS}
    steps = {name: whole_step(trainer) for name, trainer in trainers.items()}
    body = bare_body(experiment, device)
    inputs = random_inputs(experiment, device, experiment.training.batch_size)
    bare = forward_backward(body, inputs)
    works = steps | {BARE: bare, UPDATED: _in_turn(bare, *(o.step for o in trainers["dpq"].optimizers))}
    seconds = alternate(works, options.size(12, 2), device)
    parts = {name: step_parts(trainer, steps[name], options.size(5, 1)) for name, trainer in trainers.items()}
    step, epochs = _over(seconds, "dpq", BARE), _dtq_epochs(options, experiment, bare, _over(seconds, "dtq", BARE))
    precisions, notes = _precisions(options, body, inputs)
    outside = sum(parts["dpq"][part] for part in OUTSIDE) / sum(parts["dpq"].values())
    return Report(
        "training",
        _about(experiment),
        [
            Table("Steps", _step_rows(seconds, len(inputs), _peaks(works, device))),
            Table("Parts of a step", _part_rows(parts)),
            Table("Epochs of DTQ, as multiples of the bare backbone's time for as many batches", list(epochs.values())),
            Table("The bare backbone, forward and backward, by precision and compilation", precisions),
        ],
        [
            Promise("a step of DPQ, as a multiple of the bare backbone", round(step, 3), STEP_BOUND, "at most"),
            Promise(
                "an epoch of DTQ, mining and codes included, likewise",
                float(epochs[TYPICAL]["epoch / bare"]),
                EPOCH_BOUND,
                "at most",
            ),
        ],
        [f"Of a step of DPQ, {outside:.1%} is outside of the backbone.", *notes],
    )


def whole_step(trainer: Trainer) -> Work:
    """A training step as the training loop takes it, on the next batch at each call.

    Codebooks, and what else an epoch with codes begins with, are made first.
    """
    trainer.method.before_epoch(_around(trainer, trainer.epoch))
    trainer.module.train()
    geometry = torch.Generator().manual_seed(0)
    order = torch.arange(trainer.steps * trainer.batch_size, device=trainer.labels.device)
    batches = cycle(enumerate(torch.split(order, trainer.batch_size)))

    def work() -> None:
        index, rows = next(batches)
        trainer.step(rows, geometry, trainer.epoch * trainer.steps + index)

    return work


def _around(trainer: Trainer, index: int, embed: Callable[..., Tensor] | None = None) -> Epoch:
    return Epoch(index, trainer.config.epochs, 0, embed or partial(trainer.method.embed, trainer.images))


def _in_turn(*works: Work) -> Work:
    def work() -> None:
        for one in works:
            one()

    return work


def _over(seconds: Seconds, name: str, other: str) -> float:
    return ratio(seconds[name], seconds[other]).median


def _dtq_epochs(options: Options, experiment: Experiment, bare: Work, steps: float) -> dict[str, dict[str, Any]]:
    """Rows of epochs by kind; `steps` is what a step is, as a multiple of the bare backbone's time for a batch.

    An epoch is its steps and what comes before them: embeddings of all training images, codebooks and codes.
    """
    device, batches, rounds = options.device, options.size(16, 2), options.size(2, 1)
    trainer = prepared_trainer("dtq", experiment, generated_split(options.size(5000, 512)), device)
    start, count, embedding = trainer.epoch, trainer.config.epochs, []

    def embed(**views: Any) -> Tensor:
        found: list[Tensor] = []
        embedding.append(clock(lambda: found.append(trainer.method.embed(trainer.images, **views)), device))
        return found[0]

    def estimate(index: int) -> None:
        trainer.method.before_epoch(_around(trainer, index, embed))

    first = clock(partial(estimate, start), device)
    works: dict[str, Work] = {"codes again": partial(estimate, start + 1), BARE: _in_turn(*[bare] * batches)}
    seconds = alternate(works, rounds, device)
    whole = median(seconds[BARE]) / batches * trainer.steps
    again = _over(seconds, "codes again", BARE) * batches / trainer.steps
    embeddings = median(embedding) / whole
    coded = count - start + 1  # times that codes are made: before each epoch that has them, and after the last
    codes = (first / whole - embeddings + (coded - 1) * (again - embeddings)) / count
    kinds = {
        "features alone": (0.0, 0.0),
        "the first with codes, by k-means": (embeddings, first / whole - embeddings),
        TYPICAL: (embeddings, again - embeddings),
        f"mean of all {count}": (coded * embeddings / count, codes),
    }
    return {kind: _epoch_row(kind, steps, *parts) for kind, parts in kinds.items()}


def _epoch_row(name: str, steps: float, embeddings: float, codes: float) -> dict[str, Any]:
    parts = {"steps": steps, "embeddings": embeddings, "codebooks and codes": codes}
    return {"epoch": name, **{k: round(v, 3) for k, v in parts.items()}, "epoch / bare": round(sum(parts.values()), 3)}


def _precisions(options: Options, body: nn.Module, inputs: Tensor) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows, and a note on what is left out: compiling takes minutes on a CPU, and needs a compiler."""
    works: dict[str, Work] = {precision: forward_backward(body, inputs, precision) for precision in PRECISIONS}
    notes, first = [], {}
    try:
        for precision in _compiled_precisions(options):
            work = forward_backward(torch.compile(body), inputs, precision)  # type: ignore[arg-type]
            first[f"{precision}, compiled"] = round(clock(work, options.device), 1)
            works[f"{precision}, compiled"] = work
    except Exception as error:  # whatever the compiler lacks, the rest is measured
        notes.append(f"torch.compile does not work here ({type(error).__name__}); it needs a C++ compiler.")
    seconds = alternate(works, options.size(3, 1), options.device)
    rows = [
        {
            "precision": name,
            "ms": _ms(taken),
            "time / float32": str(ratio(taken, seconds["32"])),
            "seconds to compile": first.get(name, ""),
        }
        for name, taken in seconds.items()
    ]
    return rows, notes


def _compiled_precisions(options: Options) -> tuple[str, ...]:
    if options.quick:
        return ()
    return PRECISIONS if options.device.type == "cuda" else PRECISIONS[:1]


def _step_rows(seconds: Seconds, batch: int, peaks: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "step": name,
            "ms": _ms(taken),
            "images/s": round(batch / median(taken), 1),
            "time / bare": str(ratio(taken, seconds[BARE])),
            "time / bare with update": str(ratio(taken, seconds[UPDATED])),
            **({"peak MiB": peaks[name]} if peaks else {}),
        }
        for name, taken in seconds.items()
    ]


def _peaks(works: Mapping[str, Work], device: torch.device) -> dict[str, float]:
    """GPU memory in MiB at each work's peak, beside what lies there between steps (weights, optimizers, images)."""
    if device.type != "cuda":
        return {}
    peaks = {}
    for name, work in works.items():
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        peaks[name] = round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)
    return peaks


def _part_rows(parts: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    return [
        {"step": name, "part": part, "ms": _ms([own[part]]), "share": f"{own[part] / sum(own.values()):.1%}"}
        for name, own in parts.items()
        for part in PARTS
    ]


def _ms(seconds: Sequence[float]) -> float:
    return round(1000 * median(seconds), 2)


def _about(experiment: Experiment) -> str:
    training = experiment.training
    return ABOUT.format(
        backbone=experiment.backbone.name,
        size=training.image_size,
        batch=training.batch_size,
        levels=levels_for(max(experiment.bits), experiment.codebook_size),
        codewords=experiment.codebook_size,
    )
