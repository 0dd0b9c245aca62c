"""Embeddings and codes of images, as a run makes them, against inference of the bare backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bench.measure import Work, alternate, ratio
from benchmarks.bench.report import Options, Promise, Report, Table
from benchmarks.bench.setting import bare_body, generated_method, generated_split, random_inputs, setting
from benchmarks.bench.synthetic import rough_codebooks
from dpq.learning.augment import to_input
from dpq.learning.on_embeddings import BATCH

LEAST = 0.95
BARE, WHOLE = "bare backbone", "embeddings and codes"
ABOUT = (
    "Embeddings (centre crop) and codes of {bits} bits from uint8 images in memory, as a run makes them with DPQ, "
    "against inference of the bare backbone in evaluation mode on batches that lie ready: {images:,} images in batches "
    "of {batch}, {backbone}, {size} pixels, random weights."
)


def measure(options: Options) -> Report:
    """Both ways in turns, and the parts that encoding has beside the backbone."""
    experiment, device = setting(options), options.device
    count, bits = options.size(8, 1) * BATCH, max(experiment.bits)
    images = generated_split(count).images[:]
    method = generated_method("dpq", experiment, generated_split(BATCH), device)
    method.training_config = replace(experiment.training, evaluation_views="centre")
    method.to(device, memory_format=torch.channels_last)
    embeddings = method.embed(images)
    method.quantizer.codebooks.data.copy_(rough_codebooks(embeddings, *method.codebooks.shape[:2]))
    body, inputs = bare_body(experiment, device).eval(), random_inputs(experiment, device, BATCH)
    works: dict[str, Work] = {
        WHOLE: lambda: method.encode(method.embed(images), bits),
        BARE: _inference(body, inputs, count // BATCH),
        "input from uint8 images": _inputs(method, images, device),
        "codes alone": lambda: method.encode(embeddings, bits),
    }
    seconds = alternate(works, options.size(8, 1), device)
    share = ratio(seconds[BARE], seconds[WHOLE]).median
    about = ABOUT.format(
        bits=bits,
        images=count,
        batch=BATCH,
        backbone=experiment.backbone.name,
        size=experiment.training.image_size,
    )
    return Report(
        "encoding",
        about,
        [Table("Throughput", _rows(seconds, count))],
        [Promise("images/s of encoding, as a share of the bare backbone's", round(share, 3), LEAST, "at least")],
    )


def _inference(body: nn.Module, inputs: Tensor, batches: int) -> Work:
    @torch.no_grad()
    def work() -> None:
        for _ in range(batches):
            body(inputs)

    return work


def _inputs(method: Any, images: Tensor, device: torch.device) -> Work:
    config = method.training_config

    def work() -> None:
        for batch in torch.split(images, BATCH):
            to_input(batch.to(device), config.image_size, method.preprocessing, config.augmentation)

    return work


def _rows(seconds: Mapping[str, Sequence[float]], images: int) -> list[dict[str, Any]]:
    return [
        {
            "what": name,
            "images/s": round(images / median(taken), 1),
            "time / bare": str(ratio(taken, seconds[BARE])),
        }
        for name, taken in seconds.items()
    ]
