"""Where a training step spends its time, from the outside: hooks mark where the backbone and the optimizers begin."""

from __future__ import annotations

import time
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


def step_parts(trainer: Trainer, step: Work, rounds: int) -> dict[str, float]:
    """Median seconds of each part of a training step; their sum is that of whole steps, up to the medians.

    On a GPU they are times of its own clock, waiting for the next kernel included.

    Args:
        trainer: that `step` is a step of.
        step: one whole step.
        rounds: steps that are measured, after one that is not.
    """
    gpu = trainer.execution.device.type == "cuda"
    marks: list[Any] = []

    def mark(*_: object) -> None:
        if gpu:
            marks.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
            marks[-1].record()
        else:
            marks.append(time.perf_counter())

    def mark_features(_module: Any, _inputs: Any, features: Tensor) -> None:
        mark()
        features.register_hook(mark)  # type: ignore[no-untyped-call]  # where the backward pass of the backbone begins

    body, rows = trainer.method.backbone.body, []
    hooks = [
        body.register_forward_pre_hook(mark),
        body.register_forward_hook(mark_features),
        trainer.optimizers[0].register_step_pre_hook(mark),
    ]
    try:
        for _ in range(rounds + 1):
            marks.clear()
            mark()
            step()
            mark()
            if gpu:
                torch.cuda.synchronize(trainer.execution.device)
            rows.append([before.elapsed_time(end) / 1000 if gpu else end - before for before, end in pairwise(marks)])
    finally:
        for hook in hooks:
            hook.remove()
    return {part: median(times) for part, *times in zip(PARTS, *rows[1:], strict=True)}
