"""Embeddings and codes of images, as a run makes them, against inference of the bare backbone."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import torch

from benchmarks.bench.measure import Work, alternate, ratio
from benchmarks.bench.report import Options, Promise, Report
from benchmarks.bench.setting import bare_backbone, generated_method, generated_split, setting
from benchmarks.bench.synthetic import rough_codebooks
from dpq.learning.augment import to_input
from dpq.learning.on_embeddings import BATCH

BARE, WHOLE = "bare backbone", "embeddings and codes"


def measure(options: Options) -> Report:
    """Both ways in turns, and the parts that encoding has beside the backbone."""
    experiment, device = setting(options), options.device
    count, bits, training = options.size(8, 1) * BATCH, max(experiment.bits), experiment.training
    images = generated_split(count).images[:]
    method = generated_method("dpq", experiment, generated_split(BATCH))
    method.training_config = replace(training, evaluation_views="centre")
    method.to(device, memory_format=torch.channels_last)
    embeddings = method.embed(images)
    method.quantizer.codebooks.data.copy_(rough_codebooks(embeddings, *method.codebooks.shape[:2]))
    body, inputs = bare_backbone(experiment, device, BATCH)
    body.eval()

    @torch.no_grad()
    def infer() -> None:
        for _ in range(count // BATCH):
            body(inputs)

    def prepare() -> None:
        for batch in torch.split(images, BATCH):
            to_input(batch.to(device), training.image_size, method.preprocessing, training.augmentation)

    works: dict[str, Work] = {
        WHOLE: lambda: method.encode(method.embed(images), bits),
        BARE: infer,
        "input from uint8 images": prepare,
        "codes alone": lambda: method.encode(embeddings, bits),
    }
    seconds = alternate(works, options.size(8, 1))
    rows = [
        {"what": name, "images/s": round(count / median(taken), 1), "time / bare": str(ratio(taken, seconds[BARE]))}
        for name, taken in seconds.items()
    ]
    share = round(ratio(seconds[BARE], seconds[WHOLE]).median, 3)
    return Report(
        "encoding",
        f"Embeddings (centre crop) and codes of {bits} bits from uint8 images in memory, as a run makes them with DPQ, "
        f"against inference of the bare backbone in evaluation mode on batches that lie ready: {count:,} images in "
        f"batches of {BATCH}, {experiment.backbone.name}, {training.image_size} pixels, random weights.",
        {"Throughput": rows},
        [Promise("images/s of encoding, as a share of the bare backbone's", share, 0.95, "at least")],
    )
