"""What training and encoding are measured on: methods in a shipped setting, random weights, generated images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.bench.measure import Work
from benchmarks.bench.report import Options
from benchmarks.setting.building import Ingredients, build_method
from benchmarks.setting.experiment import Experiment, load_experiment
from dpq.learning.deep import body_groups
from dpq.learning.graphs import Replayed
from dpq.learning.settings import Execution, autocast
from dpq.learning.training import Trainer
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.protocols.base import Dataset, Split

CLASSES = tuple("abcdefghij")
NOISE = 40  # grey levels, beside the pattern of the class


def setting(options: Options) -> Experiment:
    """`cifar10-cpu`, on a GPU `cifar10`, without weights; a tiny network, codebook and batch where quick."""
    shipped = load_experiment("cifar10" if options.device.type == "cuda" else "cifar10-cpu")
    experiment = replace(shipped, backbone=replace(shipped.backbone, weights="none"))
    if not options.quick:
        return experiment
    return replace(
        experiment,
        backbone=replace(experiment.backbone, name="test_resnet"),
        training=replace(experiment.training, image_size=32, batch_size=16),
        bits=(4, 8, 16),
        codebook_size=16,
    )


def generated_split(images: int, count: int = len(CLASSES)) -> Split:
    """Images of the size of CIFAR-10's, of `count` classes in turns: smooth patterns with noise."""
    random = torch.Generator().manual_seed(0)
    classes = torch.arange(images) % count
    coarse = torch.randint(NOISE, 256 - NOISE, (count, 3, 4, 4), generator=random).float()
    patterns = F.interpolate(coarse, size=(32, 32), mode="bilinear")[classes]
    noise = torch.randint(-NOISE, NOISE, (images, 3, 32, 32), generator=random)
    return Split((patterns + noise).to(torch.uint8), F.one_hot(classes, count).bool())


def generated_method(name: str, experiment: Experiment, split: Split) -> Any:
    """A fresh method, as a run builds it."""
    dataset = Dataset("generated", "generated", CLASSES, split, split, split, "")
    vectors = orthonormal_label_vectors(len(CLASSES), experiment.backbone.embedding_dim)
    return build_method(name, experiment, Ingredients(dataset, None, vectors, {}), 0)


def in_precision(experiment: Experiment, precision: Any) -> Experiment:
    """The same setting, trained and read in another precision."""
    return replace(experiment, training=replace(experiment.training, precision=precision))


def prepared_trainer(
    name: str, experiment: Experiment, split: Split, device: torch.device, *, capture: bool = True
) -> Trainer:
    """A trainer in the first epoch that has codes: as dear as the later ones, and dearer than those before."""
    method = generated_method(name, experiment, split)
    method.training_config = experiment.training
    trainer = Trainer(method, split, experiment.training, 0, Execution(device, capture=capture))
    trainer.epoch = method.codes_start(experiment.training.epochs)
    return trainer


def bare_backbone(experiment: Experiment, device: torch.device, images: int) -> tuple[nn.Module, torch.Tensor]:
    """The backbone without heads, and inputs [images, 3, size, size], in the mode and the layout of training."""
    body: nn.Module = generated_method("dtq", experiment, generated_split(len(CLASSES))).backbone.body
    body.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs lack modules of 4d
    size = experiment.training.image_size
    inputs = torch.randn(images, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    return body.train(), inputs


def forward_backward(body: nn.Module, inputs: torch.Tensor, precision: str = "32") -> Work:
    """Forward and backward pass of a backbone, from the mean of its features; no update."""

    def work() -> None:
        body.zero_grad(set_to_none=True)
        with autocast(inputs.device, precision):
            loss = body(inputs).float().mean()
        loss.backward()

    return work


def bare_step(experiment: Experiment, device: torch.device, *, update: bool = False, capture: bool = True) -> Work:
    """`forward_backward` of a backbone of its own, on a batch that lies ready.

    Args:
        experiment: whose training says batch, size, precision and, for an update, rates.
        device: where.
        update: with a step of AdamW, in the groups that the methods have.
        capture: replayed as one graph on CUDA, as the trainer replays its steps; launched one by one otherwise.
    """
    training = experiment.training
    body, inputs = bare_backbone(experiment, device, training.batch_size)
    both_ways = forward_backward(body, inputs, training.precision)
    optimizer = torch.optim.AdamW(body_groups(body, training), fused=True, capturable=device.type == "cuda")

    def work() -> dict[str, torch.Tensor]:
        both_ways()
        if update:
            optimizer.step()
        return {}

    return partial(Replayed(work, device), "bare") if capture else work
