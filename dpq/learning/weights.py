"""A file of backbone weights, looked at before it is believed: its tensors, and what it says of the network's input."""

from __future__ import annotations

import codecs
import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dpq.errors import InputError, one_line
from dpq.files.json import parse_json, read_json
from dpq.files.places import is_file, is_folder
from dpq.files.schema import read_table
from dpq.files.tensors import check_weights
from dpq.learning.settings import Interpolation, Mean, Preprocessing, Std

_LONGEST = 160  # characters of a reader's own message; torch's are pages of advice
_NESTED = ("state_dict", "model", "model_state_dict")  # where programs of training keep the weights


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
    beside it (timm's names: `pad_type`, `mean`, `std`, `interpolation`), from the configuration of a saved model of
    this library that the file is of, or from the table of known files.

    Raises:
        InputError: the file is missing or no weight file, or a tensor cannot be weights; the message names it.
    """
    if is_folder(path):
        inside = next((str(file) for file in sorted(path.glob("*.safetensors"))), "a file in it")
        raise InputError(f"weights file {path} is a folder; give {inside}, or none to start from scratch", "weights")
    if not is_file(path):
        raise InputError(f"weights file {path} does not exist; give another, or none to start from scratch", "weights")
    try:
        with path.open("rb") as stream:
            _refuse_text(stream.read(64))
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        tensors, options = _read_tensors(path)
        check_weights(tensors)
        options |= _said_beside(path)
        texts = {key: parse_json(options[key]) for key in ("mean", "std") if isinstance(options.get(key), str)}
        said = read_table(_Metadata, options | texts, extra="ignore")
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise InputError(
            f"{path} is no readable weight file ({_reason(error)}); expected safetensors or a torch state dict"
        ) from error
    model_options = {} if said.pad_type is None else {"pad_type": said.pad_type}
    preprocessing = KNOWN_PREPROCESSING.get(sha256)
    if said.mean is not None and said.std is not None:
        preprocessing = Preprocessing(said.mean, said.std, said.interpolation)
    return WeightFile(path.name, sha256, tensors, model_options, preprocessing)


def _refuse_text(head: bytes) -> None:
    """What stands in place of a file after a download that failed is a text; no file of weights begins as one."""
    if not head:
        raise ValueError("it is empty")
    head = head.removeprefix(codecs.BOM_UTF8)
    if b"\0" in head or not head.isascii():
        return
    if head.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS, fetch the file itself with git lfs pull")
    what = "a web page" if head.lstrip().startswith(b"<") else "a text"
    raise ValueError(f"it is {what}, fetch the file itself")


def _said_beside(path: Path) -> dict[str, Any]:
    """What `<file>.json` says, or, of a saved model of this library, its configuration."""
    sidecar, saved = path.with_name(path.name + ".json"), path.with_name("config.json")
    if is_file(sidecar):
        return dict(read_json(sidecar))
    if path.name == "model.safetensors" and is_file(saved):
        table = read_json(saved)
        if isinstance(table, dict) and "dpq_version" in table:
            return {"pad_type": table["backbone"]["pad_type"] or None, **table["backbone"]["preprocessing"]}
    return {}


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
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__}, no table of tensors")
    state = next((state[key] for key in _NESTED if isinstance(state.get(key), Mapping)), state)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"it holds a {type(value).__name__} where a named tensor must be")
    return dict(state), {}


def _reason(error: Exception) -> str:
    """What is wrong, in one short line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", one_line(error))
    if re.search("nsupported (global|class)|unrecognized function|TorchScript", text):
        return "it holds Python objects, not tensors alone: save model.state_dict()"
    if "weights_only" in text:
        return "torch cannot read it"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
