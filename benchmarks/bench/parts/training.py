"""A training step of each deep method, and an epoch of DTQ, against forward and backward of the bare backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.bench.measure import Work, alternate, clock, ratio
from benchmarks.bench.plain import ABOUT, timm_step
from benchmarks.bench.report import Options, Promise, Report, Row
from benchmarks.bench.setting import (
    bare_backbone,
    bare_step,
    forward_backward,
    generated_split,
    in_precision,
    prepared_trainer,
    setting,
)
from benchmarks.bench.steps import OUTSIDE, step_parts
from benchmarks.setting.experiment import Experiment
from dpq.codes.additive import levels_for
from dpq.learning.augment import draw_crops
from dpq.learning.settings import Epoch
from dpq.learning.training import Trainer
from dpq.protocols.base import Split

METHODS = ("dpq", "dqn", "dtq")
BARE, UPDATED, TIMM = "bare backbone", "bare backbone, with its update", "timm's loop"
TYPICAL = "later, with codes"
PRECISIONS = ("32", "bf16")
SPELLED = {"32": "float32", "bf16": "bf16"}
LAUNCHES = {True: "replayed", False: "one by one"}
# Of a step, by whether a GPU replays it. On an H200 a step of DPQ took 1.20 times the bare backbone's.
BOUNDS = {False: 1.10, True: 1.25}
AT_ONCE = 8  # steps that a GPU is given before they are waited for, as in training
Seconds = Mapping[str, Sequence[float]]


class Way(NamedTuple):
    """How steps are taken."""

    precision: str
    replayed: bool  # as one graph, on CUDA; launched operation by operation otherwise

    def of(self, step: str) -> str:
        """What a step that is taken so is called among all."""
        return f"{step} {self.precision} {LAUNCHES[self.replayed]}"


def measure(options: Options) -> Report:
    """Steps, their parts, an epoch of DTQ, and what bf16 and compilation would give."""
    experiment, device = setting(options), options.device
    gpu, training = device.type == "cuda", experiment.training
    few = generated_split(options.size(512, 256))
    own = Way(training.precision, gpu)
    others = [Way(one, replayed) for replayed in (True, False) for one in PRECISIONS if (one, replayed) != own]
    ways = [own, *others] if gpu else [own]
    works, trainers = _works(experiment, few, device, ways)
    at_once = AT_ONCE if gpu else 1
    found = alternate({name: _repeated(work, at_once) for name, work in works.items()}, options.size(12, 2))
    seconds = {name: [taken / at_once for taken in several] for name, several in found.items()}
    launched = Way(training.precision, False)  # hooks see nothing of what is replayed
    parts = {
        name: step_parts(trainers[launched, name], works[launched.of(name)], options.size(5, 1)) for name in METHODS
    }
    bare = own.of(BARE)
    epochs = _dtq_epochs(options, experiment, works[bare], _over(seconds, own.of("dtq"), bare))
    compiled = () if options.quick else (training.precision,)
    body, inputs = bare_backbone(experiment, device, training.batch_size)
    precisions, notes = _precisions(options, body, inputs, compiled)
    outside = sum(parts["dpq"][part] for part in OUTSIDE) / sum(parts["dpq"].values())
    part_rows = [
        {"step": name, "part": part, "ms": _ms([taken]), "share": f"{taken / sum(own_parts.values()):.1%}"}
        for name, own_parts in parts.items()
        for part, taken in own_parts.items()
    ]
    step, epoch = _over(seconds, own.of("dpq"), bare), epochs[TYPICAL]["epoch / bare"]
    plain = _over(seconds, own.of("dpq"), own.of(TIMM))
    levels, codewords = levels_for(max(experiment.bits), experiment.codebook_size), experiment.codebook_size
    how = "replayed as one CUDA graph, the bare backbone's likewise" if gpu else "on the CPU, where nothing is replayed"
    return Report(
        "training",
        "A whole training step (batch from uint8 images, augmentation, network, quantizer, losses, backward pass, "
        "update), in an epoch that has codes, against forward and backward pass of the bare backbone on a batch that "
        f"lies ready: {experiment.backbone.name}, {training.image_size} pixels, batches of {training.batch_size}, "
        f"{SPELLED[training.precision]} unless said, {how}, random weights, {levels} levels of {codewords} codewords.",
        {
            "Steps": [
                _step_row(way, step, works[way.of(step)], seconds, training.batch_size, device)
                for way, step in ((way, step) for way in ways for step in (*METHODS, BARE, UPDATED, TIMM))
                if way.of(step) in works
            ],
            "Parts of a step" + (", launched one by one" if gpu else ""): part_rows,
            "Epochs of DTQ, as multiples of the bare backbone's time for as many batches": [
                {"epoch": kind, **row} for kind, row in epochs.items()
            ],
            "The bare backbone, forward and backward, by precision and compilation": precisions,
        },
        [
            Promise("a step of DPQ, as a multiple of the bare backbone", round(step, 3), BOUNDS[gpu], "at most"),
            Promise("an epoch of DTQ, mining and codes included, likewise", epoch, 1.3, "at most"),
        ],
        [
            f"A step of DPQ takes {plain:.2f} times that of timm's loop. {ABOUT}",
            f"Of a step of DPQ, {outside:.1%} is outside of the backbone.",
            *notes,
        ],
    )


def _works(
    experiment: Experiment, few: Split, device: torch.device, ways: Sequence[Way]
) -> tuple[dict[str, Work], dict[tuple[Way, str], Trainer]]:
    """All steps by name, in the order of the table, and the trainers of the methods."""
    works, trainers = dict[str, Work](), dict[tuple[Way, str], Trainer]()
    for way in ways:
        so = in_precision(experiment, way.precision)
        for name in METHODS:
            trainers[way, name] = prepared_trainer(name, so, few, device, capture=way.replayed)
            works[way.of(name)] = whole_step(trainers[way, name])
        for name in (BARE, UPDATED):
            works[way.of(name)] = bare_step(so, device, update=name == UPDATED, capture=way.replayed)
    works[ways[0].of(TIMM)] = timm_step(experiment, few, device)
    return works, trainers


def _repeated(work: Work, times: int) -> Work:
    def works() -> None:
        for _ in range(times):
            work()

    return works


def whole_step(trainer: Trainer) -> Work:
    """A training step as the training loop takes it, on the next batch at each call.

    Codebooks, and what else an epoch with codes begins with, are made first.
    """
    trainer.method.before_epoch(_around(trainer, trainer.epoch))
    trainer.module.train()
    size, augmentation = trainer.batch_size, trainer.config.augmentation
    crops = draw_crops(size, augmentation, torch.Generator().manual_seed(0)).to(trainer.labels.device)
    order = torch.arange(trainer.steps * trainer.batch_size, device=trainer.labels.device)
    batches = cycle(enumerate(torch.split(order, trainer.batch_size)))

    def work() -> None:
        index, rows = next(batches)
        trainer.step(rows, crops, trainer.epoch * trainer.steps + index)

    return work


def _around(trainer: Trainer, index: int, embed: Callable[..., Tensor] | None = None) -> Epoch:
    order = torch.arange(len(trainer.images), device=trainer.labels.device)
    trained = trainer.steps * trainer.batch_size
    embed = embed or partial(trainer.method.embed, trainer.images, stay=True)
    return Epoch(index, trainer.config.epochs, 0, embed, order, trained, trainer.labels)


def _over(seconds: Seconds, name: str, other: str) -> float:
    return ratio(seconds[name], seconds[other]).median


def _dtq_epochs(options: Options, experiment: Experiment, bare: Work, steps: float) -> dict[str, dict[str, float]]:
    """Rows of epochs by kind; `steps` is what a step is, as a multiple of the bare backbone's time for a batch.

    An epoch is its steps and what comes before them: codebooks and codes, and embeddings of all training images where
    those are not made on what steps have seen.
    """
    batches = options.size(16, 2)
    trainer = prepared_trainer("dtq", experiment, generated_split(options.size(5000, 512)), options.device)
    start, count, embedding = trainer.epoch, trainer.config.epochs, []

    def embed(**views: Any) -> Tensor:
        found: list[Tensor] = []
        trainer.method.backbone.eval()  # as the training loop does: one in training mode is copied first
        embedding.append(clock(lambda: found.append(trainer.method.embed(trainer.images, stay=True, **views))))
        trainer.method.backbone.train()
        return found[0]

    def estimate(index: int) -> None:
        trainer.method.before_epoch(_around(trainer, index, embed))

    first = clock(lambda: estimate(start))
    works = {"codes again": lambda: estimate(start + 1), BARE: lambda: [bare() for _ in range(batches)]}
    seconds = alternate(works, options.size(4, 1))
    whole = median(seconds[BARE]) / batches * trainer.steps
    embeddings = median(embedding) / whole
    fresh = first / whole - embeddings
    coded = count - start + 1  # times that codes are made: before each epoch that has them, and after the last
    # Embedded for each of them, or for the first and the last.
    anew, times = (embeddings, coded) if len(embedding) > 1 else (0.0, 2)
    again = _over(seconds, "codes again", BARE) * batches / trainer.steps - anew
    kinds = {
        "features alone": (0.0, 0.0),
        "the first with codes, by k-means": (embeddings, fresh),
        TYPICAL: (anew, again),
        f"mean of all {count}": (times * embeddings / count, (fresh + (coded - 1) * again) / count),
    }
    return {
        kind: {
            "steps": round(steps, 3),
            "embeddings": round(embedded, 3),
            "codebooks and codes": round(codes, 3),
            "epoch / bare": round(steps + embedded + codes, 3),
        }
        for kind, (embedded, codes) in kinds.items()
    }


def _precisions(
    options: Options, body: nn.Module, inputs: Tensor, compiled: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """Rows, and a note on what is left out: compiling takes minutes on a CPU, and needs a compiler."""
    works: dict[str, Work] = {precision: forward_backward(body, inputs, precision) for precision in PRECISIONS}
    notes, first = [], {}
    try:
        for precision in compiled:
            work = forward_backward(torch.compile(body), inputs, precision)  # type: ignore[arg-type]
            first[f"{precision}, compiled"] = round(clock(work), 1)
            works[f"{precision}, compiled"] = work
    except Exception as error:  # whatever the compiler lacks, the rest is measured
        notes.append(f"torch.compile does not work here ({type(error).__name__}); it needs a C++ compiler.")
    seconds = alternate(works, options.size(3, 1))
    rows: list[Row] = [
        {
            "precision": name,
            "ms": _ms(taken),
            "time / float32": str(ratio(taken, seconds["32"])),
            "seconds to compile": first.get(name, ""),
        }
        for name, taken in seconds.items()
    ]
    return rows, notes


def _step_row(way: Way, step: str, work: Work, seconds: Seconds, batch: int, device: torch.device) -> Row:
    """Time and throughput, against the bare backbone that is taken in the same way.

    On a GPU also, of what is launched one by one, the MiB at the peak beside what lies there between steps.
    """
    taken, further = seconds[way.of(step)], {}
    if device.type == "cuda":
        further = {"launches": LAUNCHES[way.replayed], "peak MiB": "" if way.replayed else _peak(work, device)}
    return {
        "step": step,
        "precision": SPELLED[way.precision],
        "ms": _ms(taken),
        "images/s": round(batch / median(taken), 1),
        "time / bare": str(ratio(taken, seconds[way.of(BARE)])),
        "time / bare with update": str(ratio(taken, seconds[way.of(UPDATED)])),
        **further,
    }


def _peak(work: Work, device: torch.device) -> float:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def _ms(seconds: Sequence[float]) -> float:
    return round(1000 * median(seconds), 2)
