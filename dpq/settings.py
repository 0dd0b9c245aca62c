"""What the training loop is told, and what a method is to those who use one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from dpq.backbone import Preprocessing
from dpq.errors import InputError
from dpq.images import Augmentation, Views
from dpq.protocols.base import Images, Split


@dataclass(frozen=True)
class TrainingConfig:
    """What all methods of an experiment share.

    Attributes:
        epochs: passes over the training images; an incomplete last batch is dropped.
        batch_size: images per step.
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
        evaluation_views: at evaluation, the "centre" crop alone, or the mean embedding of it and its "mirror" image, or
            of the "ten-crop" of centre and corners with their mirror images.
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

    def __post_init__(self) -> None:
        """Refuse views that are all the same crop."""
        if self.evaluation_views == "ten-crop" and self.augmentation.crop >= 1:
            raise InputError(
                f"ten-crop takes crops of centre and corners, but the crop is {self.augmentation.crop:g} of the image; "
                "set [training.augmentation] crop below 1, or take the views centre or mirror"
            )


@dataclass(frozen=True)
class Execution:
    """How a run is carried out; nothing here changes what is computed on one machine.

    Attributes:
        device: where the network runs.
        checkpoint: file that is written after every epoch and resumed from; None keeps nothing.
        feature_checkpoint: file that is written after the feature epochs, and started from where there is no
            checkpoint; for trainings that differ in their codes alone, which share those epochs.
        progress: draw progress bars on a terminal.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoint: Path | None = None
    feature_checkpoint: Path | None = None
    progress: bool = True


@dataclass
class TrainLog:
    """What training leaves behind besides the weights.

    Attributes:
        epochs: one dictionary per epoch: mean of every loss term, learning rate, and what the method adds.
        seconds: spent on training, over all interruptions.
        images_per_second: training throughput.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """What a method may look at around an epoch.

    Attributes:
        index: of the epoch.
        count: of epochs.
        seed: for what is drawn around this epoch.
        embeddings: called with `views=`, the training embeddings [N, D].
    """

    index: int
    count: int
    seed: int
    embeddings: Callable[..., Tensor]


class Method(Protocol):
    """What a method is to a benchmark: features, and additive codes of them.

    Attributes:
        name: of the method.
        progressive: a prefix of a code is itself a code, so one training serves every length.
    """

    name: ClassVar[str]
    progressive: ClassVar[bool]

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the backbone expects of its input."""

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """Learn from the training split; go on from the checkpoint where there is one."""

    def predict(self, images: Images, *, views: Views | None = None, progress: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] (L = 0 without a classifier) of uint8 images, on the CPU."""

    def embed(self, images: Images, *, views: Views | None = None, progress: bool = False) -> Tensor:
        """Embeddings [N, D] of uint8 images, on the CPU."""

    def encode(self, embeddings: Tensor, bits: int | None = None) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on the CPU."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bfloat16 autocast on the device, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
