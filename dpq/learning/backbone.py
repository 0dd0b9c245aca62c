"""A timm model with the two heads that every deep method here shares, and the preprocessing of its weights."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dpq.errors import InputError, ignored, one_line
from dpq.inputs.values import one_of
from dpq.learning.distributed import gather
from dpq.learning.settings import Preprocessing, TrainingConfig
from dpq.learning.weights import WeightFile, read_weights
from dpq.seeds import seeded

__all__ = ["Backbone", "Head", "WeightFile", "check_backbone", "create_body", "read_weights"]


Head = Literal["tanh", "none", "batchnorm", "unit"]

_VECTOR = 16  # numbers that an instruction works on


class UnitLength(nn.Module):
    """Scales vectors to unit length; one of length 0 stays so."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] to [B, D]."""
        return F.normalize(x, dim=1)


class Backbone(nn.Module):
    """timm model, global pooling, dropout; from the pooled feature an embedding and class logits.

    The embedding is `tanh(W f + b)` as in DPQ, or what another `head` makes of `W f + b`; the classifier reads the
    pooled feature, not the embedding (Gao et al. 2019, Sec. 2.1, and its released code). Heads start from N(0, 0.01)
    and zero biases.

    Args:
        name: any timm model name.
        classes: number of classes L; 0 for methods without a classifier.
        embedding_dim: D.
        dropout: on the pooled feature, while training.
        weights: a file that was read, "timm" for timm's own download, or None to start from scratch.
        image_size: side of the input in pixels, for networks that are made for one; None takes timm's own.
        head: what follows the linear map: "tanh", "none", "batchnorm" without parameters of its own, or "unit" length.

    Raises:
        InputError: unknown model or head, or a model that takes no images of this size; weights that do not fit (the
            keys are named), or that timm does not have; download without a network.
    """

    def __init__(
        self,
        name: str,
        classes: int,
        embedding_dim: int = 300,
        dropout: float = 0.0,
        weights: WeightFile | str | None = None,
        image_size: int | None = None,
        head: Head = "tanh",
    ) -> None:
        super().__init__()
        one_of("head", head, get_args(Head))
        body, self.preprocessing = create_body(name, weights, image_size)
        width = _width(body)
        self.body: nn.Module = body
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(width, embedding_dim)
        self.classifier = nn.Linear(width, classes) if classes else None
        self.squash = _squash(head, embedding_dim)
        self.further = nn.ModuleList()
        for layer in self.heads:
            _start(layer)

    @property
    def heads(self) -> list[nn.Linear]:
        """The embedding head, the classifier where there is one, and what a method added."""
        first = [self.embedding] if self.classifier is None else [self.embedding, self.classifier]
        return [*first, *(layer for layer in self.further if isinstance(layer, nn.Linear))]

    def add_head(self, inputs: int, outputs: int) -> None:
        """Append a linear layer of a method to `further`; it starts and learns as the heads, and is averaged alike."""
        self.further.append(_start(nn.Linear(inputs, outputs)))

    def train(self, mode: bool = True) -> Self:
        """Training mode, save for a body, or a whole network, of which no parameter learns: that stands still.

        Its batch-norm statistics stay as they are, and it drops nothing out.
        """
        super().train(mode)
        for part in (self.body, self):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                for module in part.modules():
                    module.training = False
        return self

    def forward(self, images: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D] and logits [B, L] of normalised images.

        Args:
            images: [B, 3, H, W]; or, where several processes train, this one's share of a batch.
            count: B of the batch that they share. Features are gathered before dropout, so that it draws for the whole
                batch alike in every process.
        """
        feature = self.body(images)
        feature = self.dropout(feature if count is None else gather(feature, count))
        logits = feature[:, :0] if self.classifier is None else self.classifier(feature)
        return self.squash(self.embedding(feature)), logits


def _start(layer: nn.Linear) -> nn.Linear:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _squash(head: Head, dim: int) -> nn.Module:
    if head == "batchnorm":
        return nn.BatchNorm1d(dim, affine=False)
    return {"tanh": nn.Tanh, "none": nn.Identity, "unit": UnitLength}[head]()


def create_body(
    name: str, weights: WeightFile | str | None, image_size: int | None = None
) -> tuple[Any, Preprocessing]:
    """The timm model without its classifier, with weights, and the preprocessing these expect.

    Args:
        name: any timm model name.
        weights: as for `Backbone`.
        image_size: as for `Backbone`.

    Raises:
        InputError: as for `Backbone`.
    """
    outline, options = _outline_of(name, weights, image_size)
    try:
        with _quiet():
            import timm

            body: Any = timm.create_model(name, pretrained=weights == "timm", num_classes=0, **options)
    except Exception as error:
        if weights != "timm":
            raise
        raise InputError(
            f"could not download weights of {name} ({type(error).__name__}); go online, give a file of weights, "
            "or none to start from scratch",
            "weights",
        ) from error
    if layout_of(body) == torch.contiguous_format:
        body.register_forward_pre_hook(_laid_out)
    config = body.pretrained_cfg
    preprocessing = Preprocessing(tuple(config["mean"]), tuple(config["std"]), config["interpolation"])
    if isinstance(weights, WeightFile):
        body.load_state_dict(_fitting(outline, name, weights))
        preprocessing = weights.preprocessing or preprocessing
    return body, preprocessing


def check_backbone(
    name: str, weights: WeightFile | str | None, training: TrainingConfig, *, learns: bool = True
) -> None:
    """Refuse what no training can start from: needs no image, and downloads nothing.

    Args:
        name: any timm model name.
        weights: as for `Backbone`.
        training: image size and batch size.
        learns: whether the network is trained, not its heads alone.

    Raises:
        InputError: as for `Backbone`; batches of one image, of which batch norm learns nothing.
    """
    outline, _ = _outline_of(name, weights, training.image_size)
    if isinstance(weights, WeightFile):
        _fitting(outline, name, weights)
    check_batches(outline.train(learns), training.batch_size)


def layout_of(network: nn.Module) -> torch.memory_format:
    """The memory format that a network runs in: channels last, which is faster, where that is safe.

    The gradient of a strided convolution of single pixels writes outside of its memory on CPUs, where the format is
    channels last and the channels are fewer than a vector of them (torch 2.14).
    """
    pixelwise = (m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))
    unsafe = any(module.stride != (1, 1) and module.in_channels < _VECTOR for module in pixelwise)
    return torch.contiguous_format if unsafe else torch.channels_last


def _laid_out(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(),)


def check_batches(network: nn.Module, batch_size: int) -> None:
    """Refuse to train batch norm, in training mode, on batches of one image.

    Raises:
        InputError: as said.
    """
    if batch_size == 1 and any(isinstance(module, _BatchNorm) and module.training for module in network.modules()):
        raise InputError("a backbone with batch norm learns from batches of two images or more; got batch_size 1")


def _outline_of(
    name: str, weights: WeightFile | str | None, image_size: int | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network without numbers, and the arguments that timm makes it with."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:5])
        raise InputError(
            f"unknown backbone {name!r}; give a timm model name" + (f", for instance {near}" if near else ""),
            "backbone",
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        known = [other.partition(".")[2] for other in timm.list_models(f"{architecture}.*", pretrained=True)]
        raise InputError(
            f"unknown weights {tag!r} of backbone {architecture}; give {architecture}"
            + (f", or one of its {', '.join(known[:5])} after a point" if known else ""),
            "backbone",
        ) from error
    asked = tuple(sorted(weights.model_options.items())) if isinstance(weights, WeightFile) else ()
    try:
        with _quiet():
            outline, options = _outline(name, asked, image_size)
    except TypeError as error:
        if not asked or not isinstance(weights, WeightFile):
            raise
        raise InputError(
            f"{weights.name} asks for {', '.join(weights.model_options)}, which {name} does not take; give another "
            "backbone",
            "backbone",
        ) from error
    config: Any = outline.pretrained_cfg
    if weights == "timm" and not any(config.get(source) for source in ("url", "file", "hf_hub_id")):
        raise InputError(
            f"timm has no weights of {name}; give a file of them, or none to start from scratch", "weights"
        )
    return outline, options


@lru_cache(maxsize=8)
def _outline(name: str, asked: tuple[tuple[str, Any], ...], image_size: int | None) -> tuple[Any, dict[str, Any]]:
    """As `_outline_of`: tried on torch's meta device, where nothing is computed.

    Networks that images of any size fit take no size; of the others some take one, for their position embeddings.
    """
    outline = _build(name, dict(asked), "meta")
    if image_size is None:
        return outline, dict(asked)
    faults = []
    for further in ({}, {"img_size": image_size}):
        options = dict(asked) | further
        for device in ("meta", "cpu"):
            try:
                tried = _build(name, options, device)
                feature = tried(torch.zeros(1, 3, image_size, image_size, device=device))
                if feature.shape != (1, _width(tried)):
                    raise ValueError(f"its features are {list(feature.shape)}")
                return tried.to("meta"), options
            except Exception as error:  # each network has its own way to refuse
                faults.append(one_line(error))
                if "meta" not in faults[-1]:
                    break
    own = outline.pretrained_cfg["input_size"][-1]
    way = f"give its own size, {own}, or another backbone" if own != image_size else "give another backbone"
    raise InputError(f"{name} takes no images of {image_size} pixels ({faults[0][:120]}); {way}", "image_size")


def _build(name: str, options: Mapping[str, Any], device: str) -> Any:
    import timm

    with seeded(0), torch.device(device):  # the caller's random state stays, whatever other threads do
        return timm.create_model(name, num_classes=0, **options).eval()


def _width(body: Any) -> int:
    """Number of pooled features."""
    return int(getattr(body, "head_hidden_size", body.num_features))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a network the download retries for most of a minute, with a warning each time; ours is one line."""
    levels = {name: logging.getLogger(name).level for name in ("huggingface_hub", "timm")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with ignored():
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _fitting(outline: nn.Module, name: str, weights: WeightFile) -> dict[str, Tensor]:
    """The tensors of a file under the network's own names.

    Files often have a prefix before all names (of DataParallel, torch.compile, Lightning, or of this library's saved
    models). Where they do not fit as they are, timm's own conversion is tried, which resizes position embeddings.

    Raises:
        InputError: keys are missing, of another shape or no numbers; names some.
    """
    wanted = outline.state_dict()
    prefix = _prefix(weights, wanted)
    tensors = {key.removeprefix(prefix): value for key, value in weights.tensors.items() if key.startswith(prefix)}
    if fault := _misfit(tensors, wanted):
        tensors = _converted(outline, tensors)
        if _misfit(tensors, wanted):
            begin = f"; its keys begin with {prefix}" if prefix else ""
            raise InputError(
                f"{weights.name} does not fit {name}: {fault}{begin}; give the weights of this backbone or another "
                "backbone",
                "backbone",
            )
    return {key: tensors[key] for key in wanted}


def _prefix(weights: WeightFile, wanted: Mapping[str, Any]) -> str:
    """What stands before most of the wanted names; empty where they stand as they are, or not at all.

    Raises:
        InputError: several prefixes stand before all of them.
    """
    found = Counter[str]()
    for key in weights.tensors:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                found["".join(f"{part}." for part in parts[:start])] += 1
    whole = [prefix for prefix, count in found.items() if count == len(wanted)]
    if "" in whole or not found:
        return ""
    if len(whole) > 1:
        raise InputError(
            f"{weights.name} holds {len(whole)} networks ({', '.join(whole)}); give a file of one", "weights"
        )
    return max(found, key=lambda prefix: (found[prefix], prefix == ""))


def _misfit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """How many tensors are missing or other than the network needs, and some of them; empty where all fit."""
    missing = [key for key in wanted if key not in tensors]
    there = [(key, tensors[key], value) for key, value in wanted.items() if key in tensors]
    misshapen = [key for key, given, value in there if given.shape != value.shape]
    foreign = [key for key, given, value in there if value.is_floating_point() and not given.is_floating_point()]
    if not missing + misshapen + foreign:
        return ""
    kinds = f"{len(missing)} keys missing and {len(misshapen)} of another shape"
    if foreign:
        kinds = f"{kinds}, {len(foreign)} not of floating-point numbers"
    return f"{kinds} ({', '.join((missing + misshapen + foreign)[:5])})"


def _converted(outline: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What timm makes of a file of these tensors before it loads them; nothing where it cannot."""
    import timm

    config: Any = outline.pretrained_cfg
    entry = timm.model_entrypoint(config["architecture"])
    convert = getattr(sys.modules[entry.__module__], "checkpoint_filter_fn", None)
    try:
        converted = convert(dict(tensors), outline) if convert else tensors
    except Exception:  # tensors of another network
        return {}
    return dict(converted)
