"""What the training loop and the evaluation are told: settings of training, input, execution and search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Interval

from dpq.errors import InputError
from dpq.files.bounds import Bounded

if TYPE_CHECKING:  # settings are read without PyTorch, whose import takes seconds
    import torch
    from torch import Tensor


Score = Literal["inner", "l2"]
RankedBy = Literal["inner", "l2", "symmetric"]  # the last: queries are replaced by their own reconstructions
Views = Literal["centre", "mirror", "ten-crop"]
CodesOn = Literal["centre", "seen"]

# What the numbers of a setting may be, wherever it is read from.
Count = Annotated[int, Interval(ge=1, le=10**9)]
Pixels = Annotated[int, Interval(ge=1, le=10**5)]
Width = Annotated[int, Interval(ge=0, le=10**5)]  # of a method's embedding; 0 for what its backbone has otherwise
Rate = Annotated[float, Interval(ge=0, le=1e6)]
Weight = Annotated[float, Interval(ge=0, le=1e9)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Mean = Annotated[float, Interval(ge=-1e3, le=1e3)]
Std = Annotated[float, Interval(ge=1e-3, le=1e3)]
Interpolation = Literal["bilinear", "bicubic"]

T = TypeVar("T")
_BEFORE = "what records were made with that do not have the field"


def added_later(default: T) -> T:
    """A dataclass field that is younger than the first records; its default is what they were made with."""
    return changed_later(default, default)


def changed_later(default: T, before: T) -> T:
    """A dataclass field that is younger than the first records, and whose default is not what they were made with."""
    return field(default=default, metadata={_BEFORE: before})


def as_recorded(config: Any) -> dict[str, Any]:
    """The fields of a dataclass and of those inside it, without younger ones that hold what was before them.

    A record's identity is a digest of this, so it must not change when a setting is added that a run does not use.
    """
    table = {}
    for f in fields(config):
        value = getattr(config, f.name)
        if not (_BEFORE in f.metadata and value == f.metadata[_BEFORE]):
            table[f.name] = as_recorded(value) if is_dataclass(value) else value
    return table


@dataclass(frozen=True)
class Preprocessing(Bounded):
    """What a set of weights expects of its input, for RGB in [0, 1]; mean and standard deviation per channel."""

    mean: tuple[Mean, Mean, Mean] = (0.485, 0.456, 0.406)
    std: tuple[Std, Std, Std] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"


@dataclass(frozen=True)
class SearchConfig(Bounded):
    """Settings of a quantizer on given embeddings.

    Attributes:
        score: rank by "inner" product or by "l2" distance, as published for product quantization.
    """

    score: Score = "l2"


@dataclass(frozen=True)
class KMeansConfig(SearchConfig):
    """Settings of quantizers by k-means on given embeddings.

    Attributes:
        normalise: frozen features are scaled to unit length; another method's embeddings stay as they are.
        code_epochs: fraction of the epochs; so many passes over augmented training images are what k-means is fitted
            to, as many as a deep method's codes see whose `feature_epochs` are the others. 0: the views of evaluation,
            once.
    """

    normalise: bool = changed_later(True, before=False)
    code_epochs: Fraction = changed_later(0.5, before=0.0)


@dataclass(frozen=True)
class Augmentation(Bounded):
    """Training-time geometry; evaluation takes crops of the same size, at fixed places.

    Attributes:
        flip: mirror every second image, at random.
        crop: side of the crop as a fraction of the image's (the papers: 227/256); 1 keeps the whole image.
        shift: the crop's centre moves by up to this fraction of the image's side, in each axis; what lies outside
            the image is its reflection. `(1 - crop) / 2` keeps every crop inside.
    """

    flip: bool = True
    crop: Annotated[float, Interval(ge=0.01, le=1)] = 1.0
    shift: Fraction = 0.125


@dataclass(frozen=True)
class TrainingConfig(Bounded):
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
        ema: training ends with a moving average of the network's weights and of learned codebooks, which keeps this
            share of itself at a step, less in the first ones (timm's `ModelEmaV3` with warm-up); 0 ends with the last
            weights.
        erasing: share of the training images that have a random rectangle erased (`dpq.learning.augment`).
    """

    epochs: Count
    batch_size: Count = 64
    image_size: Pixels = 224
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Rate = 1e-3
    head_multiplier: Rate = 1.0
    layer_decay: Fraction = 1.0
    weight_decay: Weight = 0.05
    momentum: Fraction = 0.9
    schedule: Literal["cosine", "exponential"] = "cosine"
    warmup: Fraction = 0.1
    decay_rate: Rate = 0.9
    decay_steps: Count = 10_000
    dropout: Fraction = 0.2
    augmentation: Augmentation = field(default_factory=Augmentation)
    evaluation_views: Views = "centre"
    precision: Literal["32", "bf16"] = "32"
    ema: Annotated[float, Interval(ge=0, le=0.9999)] = added_later(0.0)
    erasing: Fraction = added_later(0.0)

    def __post_init__(self) -> None:
        """Refuse what is out of range, and views that are all the same crop."""
        super().__post_init__()
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
        capture: replay the steps of training as CUDA graphs where there is CUDA and the method allows it.
        environment: where this is, as a checkpoint keeps it for whoever goes on from there; None says nothing.
    """

    device: torch.device = field(default_factory=lambda: import_module("torch").device("cpu"))
    checkpoint: Path | None = None
    feature_checkpoint: Path | None = None
    progress: bool = True
    capture: bool = True
    environment: Mapping[str, Any] | None = None


@dataclass
class TrainLog:
    """What training leaves behind besides the weights.

    Attributes:
        epochs: one dictionary per epoch: mean of every loss term, learning rate, and what the method adds.
        seconds: spent on training, over all interruptions.
        images_per_second: training throughput.
        captured: steps were replayed as CUDA graphs.
        environments: of all parts, each once; None stands for parts of which nothing is known.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0
    captured: bool = False
    environments: list[Mapping[str, Any] | None] = field(default_factory=list)


@dataclass(frozen=True)
class Epoch:
    """What a method may look at around an epoch.

    Attributes:
        index: of the epoch.
        count: of epochs.
        seed: for what is drawn around this epoch.
        embeddings: called with `views=`, the training embeddings [N, D].
        order: [N] positions of the training images, in the order of the epoch; what does not fill a batch comes last,
            and is not trained on.
        trained: how many are trained on.
        labels: [N, L] bool, of the training images.
    """

    index: int
    count: int
    seed: int
    embeddings: Callable[..., Tensor]
    order: Tensor
    trained: int
    labels: Tensor


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bfloat16 autocast on the device, or nothing."""
    import torch

    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
