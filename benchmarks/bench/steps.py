"""Where a training step spends its time, from the outside: hooks mark where the backbone and the optimizers begin."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.bench.measure import Work
from dpq.learning.training import Trainer

PARTS = (
    "augmentation and data",
    "backbone, forward",
    "heads, quantizer and losses, both ways",
    "backbone, backward",
    "optimizers",
)
OUTSIDE = tuple(part for part in PARTS if not part.startswith("backbone"))
Mark = Callable[[], None]


def step_parts(trainer: Trainer, step: Work, rounds: int) -> dict[str, float]:
    """Median seconds of each part of a training step; their sum is that of whole steps, up to the medians.

    On a GPU they are times of its own clock, waiting for the next kernel included.

    Args:
        trainer: that `step` is a step of.
        step: one whole step.
        rounds: steps that are measured, after one that is not.
    """
    gpu = trainer.execution.device.type == "cuda"
    rows = [_one_step(trainer, step, gpu) for _ in range(rounds + 1)][1:]
    return {part: median(row[index] for row in rows) for index, part in enumerate(PARTS)}


def _one_step(trainer: Trainer, step: Work, gpu: bool) -> list[float]:
    marks: list[Any] = []

    def mark() -> None:
        if gpu:
            marks.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
            marks[-1].record()
        else:
            marks.append(time.perf_counter())

    with _marked(trainer, mark):
        mark()
        step()
        mark()
    if gpu:
        torch.cuda.synchronize(trainer.execution.device)
        return [before.elapsed_time(after) / 1000 for before, after in pairwise(marks)]
    return [after - before for before, after in pairwise(marks)]


@contextmanager
def _marked(trainer: Trainer, mark: Mark) -> Iterator[None]:
    """Mark where the backbone's forward pass begins and ends, where its backward pass begins, and the first update."""

    def at_features(_module: Any, _inputs: Any, features: Tensor) -> None:
        mark()
        features.register_hook(lambda _gradient: mark())  # type: ignore[no-untyped-call]

    body = trainer.method.backbone.body
    with ExitStack() as hooks:
        for handle in (
            body.register_forward_pre_hook(lambda *_: mark()),
            body.register_forward_hook(at_features),
            trainer.optimizers[0].register_step_pre_hook(lambda *_: mark()),
        ):
            hooks.callback(handle.remove)
        yield
