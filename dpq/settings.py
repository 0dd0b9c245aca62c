"""What the training loop is told, and what it asks of a method."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dpq.images import Augmentation

Views = Literal["centre", "mirror"]


@dataclass(frozen=True)
class TrainingConfig:
    """What all methods of an experiment share.

    Attributes:
        epochs: passes over the training images; an incomplete last batch is dropped.
        batch_size: images a step.
        image_size: side of the network input, in pixels.
        optimizer: of the network; codebooks always have Adam.
        learning_rate: of the network's last layers.
        head_multiplier: learning rate of the two heads, as a multiple.
        layer_decay: each earlier layer of the backbone learns by this factor slower.
        weight_decay: decoupled with AdamW; not on biases and normalisation.
        momentum: of SGD.
        schedule: "cosine" to zero after a linear warm-up, or "exponential" decay, continuous.
        warmup: fraction of all steps.
        decay_rate: factor per `decay_steps` steps ("exponential").
        decay_steps: see `decay_rate`.
        dropout: on the pooled feature.
        augmentation: crops and flips.
        evaluation_views: at evaluation, the "centre" crop alone, or the mean embedding of it and its "mirror" image.
        precision: "32", or "bf16" for the backbone under autocast.
    """

    epochs: int
    batch_size: int = 64
    image_size: int = 224
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    head_multiplier: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    momentum: float = 0.9
    schedule: Literal["cosine", "exponential"] = "cosine"
    warmup: float = 0.1
    decay_rate: float = 0.9
    decay_steps: int = 10_000
    dropout: float = 0.2
    augmentation: Augmentation = field(default_factory=Augmentation)
    evaluation_views: Views = "centre"
    precision: Literal["32", "bf16"] = "32"


@dataclass(frozen=True)
class Execution:
    """How a run is carried out; nothing here changes what is computed on one machine.

    Attributes:
        device: where the network runs.
        checkpoint: file that is written after every epoch and resumed from; None keeps nothing.
        progress: draw progress bars on a terminal.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoint: Path | None = None
    progress: bool = True


@dataclass
class TrainLog:
    """What training leaves behind besides the weights.

    Attributes:
        epochs: one dictionary an epoch: mean of every loss term, learning rate, and what the method adds.
        seconds: spent on training, over all interruptions.
        images_per_second: training throughput.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """What a method may look at around an epoch: `index` of `count`, a seed, the training embeddings."""

    index: int
    count: int
    seed: int
    embeddings: Callable[[], Tensor]


class Trainable(Protocol):
    """A deep method as the loop sees it: an `nn.Module` with these."""

    def network_parameters(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameter groups of the network, each with its `lr` and `weight_decay`."""

    def codebook_parameters(self) -> list[dict[str, Any]]:
        """Parameter groups for Adam, each with its `lr`; may be empty."""

    def before_epoch(self, epoch: Epoch) -> None:
        """Re-estimate what is not learned by gradient."""

    def losses(self, inputs: Tensor, labels: Tensor, epoch: int, epochs: int) -> dict[str, Tensor]:
        """Weighted loss terms of a batch of network inputs; their sum is minimised."""

    def after_epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Tidy up after an epoch; returns what to log of it, JSON-able."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bfloat16 autocast on the device, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
