"""Embeddings and codes of images, as a run makes them, against inference of the bare backbone and a plain copy."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.bench.measure import Work, alternate, ratio
from benchmarks.bench.report import Options, Promise, Report
from benchmarks.bench.setting import bare_backbone, generated_method, generated_split, setting
from benchmarks.bench.synthetic import rough_codebooks
from dpq.learning.augment import to_input
from dpq.learning.on_embeddings import BATCH, BATCH_ON_GPU
from dpq.learning.settings import autocast

BARE, WHOLE, COPY = "bare backbone", "embeddings and codes", "copy of what the backbone writes"
BLOCK = 2**28  # bytes that are copied at once, more than any cache holds


def measure(options: Options) -> Report:
    """All ways in turns, and the parts that encoding has beside the backbone."""
    experiment, device = setting(options), options.device
    size, batches = (BATCH_ON_GPU, options.size(32, 1)) if device.type == "cuda" else (BATCH, options.size(8, 1))
    count, bits, training = batches * size, max(experiment.bits), experiment.training
    images = generated_split(count).images[:]
    method = generated_method("dpq", experiment, generated_split(size))
    method.training_config = replace(training, evaluation_views="centre")
    method.to(device, memory_format=torch.channels_last).eval()  # as training leaves it: else it is copied first
    embeddings = method.embed(images)
    method.quantizer.codebooks.data.copy_(rough_codebooks(embeddings, *method.codebooks.shape[:2]))
    body, inputs = bare_backbone(experiment, device, size)
    body.eval()

    @torch.no_grad()
    def infer() -> None:
        for _ in range(batches):
            with autocast(device, training.precision):
                body(inputs)

    def prepare() -> None:
        for batch in torch.split(images, size):
            to_input(batch.to(device), training.image_size, method.preprocessing, training.augmentation)

    with torch.no_grad(), autocast(device, training.precision):
        written = bytes_written(body, inputs)
    works: dict[str, Work] = {
        WHOLE: lambda: method.encode(method.embed(images), bits),
        BARE: infer,
        COPY: copying(batches * written, device),
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
        f"batches of {size}, {experiment.backbone.name}, {training.image_size} pixels, "
        f"{'bf16' if training.precision == 'bf16' else 'float32'}, random weights.",
        {"Throughput": rows},
        [Promise("images/s of encoding, as a share of the bare backbone's", share, 0.95, "at least")],
        [
            f"The copy reads and writes as many bytes, {written / size / 2**20:.1f} MiB an image, as the input and the "
            "results of all layers have: memory traffic alone, where each layer reads what the one before it wrote. "
            f"It moves {2 * batches * written / median(seconds[COPY]) / 1e9:,.0f} GB/s."
        ],
    )


def bytes_written(body: nn.Module, inputs: Tensor) -> int:
    """Bytes of the inputs and of what every layer gives for them, those that work in place included."""
    sizes = [inputs.nbytes]
    leaves = (module for module in body.modules() if not any(module.children()))
    layers = [leaf for leaf in leaves if not isinstance(leaf, nn.Identity | nn.Flatten)]
    hooks = [layer.register_forward_hook(lambda _layer, _inputs, given: sizes.append(given.nbytes)) for layer in layers]
    try:
        body(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(sizes)


def copying(size: int, device: torch.device) -> Work:
    """Copies so many bytes within the device's memory, block by block."""
    block = min(size, BLOCK)
    source, target = (torch.zeros(block, dtype=torch.uint8, device=device) for _ in range(2))

    def work() -> None:
        for start in range(0, size, block):
            part = min(block, size - start)
            target[:part].copy_(source[:part])

    return work
