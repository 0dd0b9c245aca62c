"""A timm model with the two heads that every deep method here shares, and the preprocessing of its weights."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from dpq.errors import InputError, one_line
from dpq.files.json import parse_json, read_json
from dpq.files.places import is_file
from dpq.files.schema import read_table
from dpq.files.tensors import check_finite
from dpq.learning.distributed import gather
from dpq.learning.settings import Interpolation, Mean, Preprocessing, Std


@dataclass(frozen=True)
class WeightFile:
    """A file of backbone weights, read and checked."""

    name: str  # of the file
    sha256: str  # of the file
    tensors: Mapping[str, Tensor]  # state dict, classifier included or not
    model_options: Mapping[str, Any]  # further arguments of `timm.create_model` (padding)
    preprocessing: Preprocessing | None  # what the file says of its input; None where it says nothing


@dataclass(frozen=True)
class _Metadata:
    """What a file, or the one beside it, may say; keys by timm's names."""

    pad_type: Literal["", "same", "valid"] | None = None
    mean: tuple[Mean, Mean, Mean] | None = None
    std: tuple[Std, Std, Std] | None = None
    interpolation: Interpolation = "bicubic"


# Weights whose own metadata leave the input range open. Key: SHA-256 of the file.
KNOWN_PREPROCESSING = {
    # MobileNetV2 1.0 224 converted from the quantised TensorFlow Lite release: RGB in [-1, 1].
    "31ef9e9d31aea088db5ac4860643060385ba5e8e6f5f11a6edb092400f8d7a12": Preprocessing(
        (0.5,) * 3, (0.5,) * 3, "bilinear"
    ),
}


def read_weights(path: Path) -> WeightFile:
    """Read a safetensors file, or a torch file with `weights_only=True`.

    Padding, mean, standard deviation and interpolation come from the file's metadata, from `<file>.json`
    beside it (timm's names: `pad_type`, `mean`, `std`, `interpolation`), or from the table of known files.

    Raises:
        InputError: the file is missing or no weight file, or a weight is not finite.
    """
    if not is_file(path):
        raise InputError(f"weights file {path} does not exist; give another, or none to start from scratch", "weights")
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        tensors, options = _read_tensors(path)
        check_finite(tensors)
        sidecar = path.with_name(path.name + ".json")
        if is_file(sidecar):
            options |= read_json(sidecar)
        texts = {key: parse_json(options[key]) for key in ("mean", "std") if isinstance(options.get(key), str)}
        said = read_table(_Metadata, options | texts, extra="ignore")
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise InputError(
            f"{path} is no readable weight file ({one_line(error)}); expected safetensors or a torch state dict"
        ) from error
    model_options = {} if said.pad_type is None else {"pad_type": said.pad_type}
    preprocessing = KNOWN_PREPROCESSING.get(sha256)
    if said.mean is not None and said.std is not None:
        preprocessing = Preprocessing(said.mean, said.std, said.interpolation)
    return WeightFile(path.name, sha256, tensors, model_options, preprocessing)


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch itself compresses nothing
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError("it unpacks to more than its own size")
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"it holds a {type(value).__name__} where a named tensor must be")
    return dict(state), {}


class Backbone(nn.Module):
    """timm model, global pooling, dropout; from the pooled feature an embedding and class logits.

    The embedding is `tanh(W f + b)`; the classifier reads the pooled feature, not the embedding (Gao et al. 2019,
    Sec. 2.1, and its released code). Heads start from N(0, 0.01) and zero biases.

    Args:
        name: any timm model name.
        classes: number of classes L; 0 for methods without a classifier.
        embedding_dim: D.
        dropout: on the pooled feature, while training.
        weights: a file that was read, "timm" for timm's own download, or None to start from scratch.

    Raises:
        InputError: unknown model; weights that do not fit (the keys are named); download without a network.
    """

    def __init__(
        self,
        name: str,
        classes: int,
        embedding_dim: int = 300,
        dropout: float = 0.0,
        weights: WeightFile | str | None = None,
    ) -> None:
        super().__init__()
        body, self.preprocessing = create_body(name, weights)
        width = int(getattr(body, "head_hidden_size", body.num_features))
        self.body: nn.Module = body
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(width, embedding_dim)
        self.classifier = nn.Linear(width, classes) if classes else None
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)

    @property
    def heads(self) -> list[nn.Linear]:
        """The embedding head, and the classifier where there is one."""
        return [self.embedding] if self.classifier is None else [self.embedding, self.classifier]

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
        return torch.tanh(self.embedding(feature)), logits


def create_body(name: str, weights: WeightFile | str | None) -> tuple[Any, Preprocessing]:
    """The timm model without its classifier, with weights, and the preprocessing these expect."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise InputError(
            f"unknown backbone {name!r}; give a timm model name" + (f", for instance {near}" if near else "")
        )
    options = dict(weights.model_options) if isinstance(weights, WeightFile) else {}
    try:
        with _quiet("huggingface_hub", "timm"):
            body: Any = timm.create_model(name, pretrained=weights == "timm", num_classes=0, **options)
    except Exception as error:
        if isinstance(weights, WeightFile) and isinstance(error, TypeError) and options:
            raise InputError(
                f"{weights.name} asks for {', '.join(options)}, which {name} does not take; give another backbone",
                "backbone",
            ) from error
        if weights != "timm":
            raise
        raise InputError(
            f"could not download weights of {name} ({type(error).__name__}); go online, give a file of weights, "
            "or none to start from scratch",
            "weights",
        ) from error
    config = body.pretrained_cfg
    preprocessing = Preprocessing(tuple(config["mean"]), tuple(config["std"]), config["interpolation"])
    if isinstance(weights, WeightFile):
        _load(body, name, weights)
        preprocessing = weights.preprocessing or preprocessing
    return body, preprocessing


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Without a network the download retries for most of a minute, with a warning each time; ours is one line."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _load(body: nn.Module, name: str, weights: WeightFile) -> None:
    wanted = body.state_dict()
    missing = [key for key in wanted if key not in weights.tensors]
    misshapen = [k for k, v in wanted.items() if k in weights.tensors and weights.tensors[k].shape != v.shape]
    if missing or misshapen:
        keys = ", ".join((missing + misshapen)[:5])
        raise InputError(
            f"{weights.name} does not fit {name}: {len(missing)} keys missing and {len(misshapen)} of another shape "
            f"({keys}); give the weights of this backbone or another backbone",
            "backbone",
        )
    body.load_state_dict({key: weights.tensors[key] for key in wanted})
