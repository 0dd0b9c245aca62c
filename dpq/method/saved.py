"""A trained model as a folder: `model.safetensors`, and `config.json` that says what the tensors are of.

Reading unpickles nothing and downloads nothing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from dpq.codes.additive import levels_for
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import read_json
from dpq.files.places import exists, is_folder, real
from dpq.files.schema import read_table
from dpq.files.tensors import check_finite
from dpq.learning.settings import Preprocessing, TrainingConfig
from dpq.method.config import DPQConfig

SCHEMA_VERSION: Final = 1
TENSORS, CONFIG = "model.safetensors", "config.json"
_REMEDY = "choose another path"


@dataclass(frozen=True)
class SavedBackbone:
    """The network, without where its first weights came from."""

    name: str  # timm model name
    pad_type: str  # of its convolutions, where the weights asked for one; else empty
    embedding_dim: int  # D
    preprocessing: Preprocessing  # what it expects of its input


@dataclass(frozen=True)
class SavedConfig:
    """What `config.json` holds."""

    schema_version: Literal[1]  # of this table
    dpq_version: str  # of the library that wrote it
    backbone: SavedBackbone
    classes: tuple[str, ...]  # L label names, in the order of the classifier's outputs
    multi_label: bool  # images may carry several labels
    bits: int  # longest code
    codebook_size: int  # codewords per level K
    method: DPQConfig
    training: TrainingConfig
    sha256: str = ""  # of `model.safetensors`


def write_model(folder: Path, config: SavedConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a folder whole or not at all; a model that was there before is replaced.

    Args:
        folder: to be made.
        config: its digest is filled in.
        tensors: by name, on any device.

    Raises:
        InputError: there is something else at that path, or it cannot be written.
    """
    from safetensors.torch import save

    folder = real(folder)
    refuse_others(folder)
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    table = asdict(config) | {"sha256": hashlib.sha256(content).hexdigest()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True
        ) as to:
            fresh, old = Path(to) / "new", Path(to) / "old"
            write_atomically(fresh / TENSORS, content, _REMEDY)
            write_atomically(fresh / CONFIG, json.dumps(table, indent=2, ensure_ascii=False) + "\n", _REMEDY)
            try:  # a folder cannot be replaced in one step; in between there is none, never half of one
                if exists(folder):
                    folder.rename(old)
                fresh.rename(folder)
            except BaseException:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise InputError(f"cannot write {folder} ({error.strerror}); {_REMEDY}") from error


def refuse_others(folder: Path) -> None:
    """Refuse to save a model over something else.

    Raises:
        InputError: there is a file, or a folder with other files.
    """
    if not exists(folder):
        return
    others = sorted({path.name for path in folder.iterdir()} - {TENSORS, CONFIG}) if is_folder(folder) else []
    if others or not is_folder(folder):
        what = f"a folder with other files ({others[0]})" if others else "a file"
        raise InputError(f"{folder} is {what}, which saving would overwrite; {_REMEDY}", "output")


def read_model(folder: Path) -> tuple[SavedConfig, dict[str, Tensor]]:
    """What `write_model` wrote.

    Raises:
        InputError: it is missing, damaged, written by something else or by a later version, or a number is not finite.
    """
    from safetensors.torch import load

    config, path = read_config(folder), folder / TENSORS
    dim = config.backbone.embedding_dim
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != config.sha256:
            raise ValueError(f"its check sum is not the one in {CONFIG}")
        tensors = load(content)
        check_finite(tensors)
        expected = {  # checked before anything of the size is made that the configuration says
            "quantizer.codebooks": (levels_for(config.bits, config.codebook_size), config.codebook_size, dim),
            "label_vectors": (len(config.classes), dim),
        }
        for name, shape in expected.items():
            if name not in tensors or tuple(tensors[name].shape) != shape:
                raise ValueError(f"it has no {name} of {list(shape)}, which {CONFIG} asks for")
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise unusable(path, error) from error
    return config, tensors


def read_config(folder: Path) -> SavedConfig:
    """What a saved model is of; its digest, that of its tensors, stands for it.

    Raises:
        InputError: there is no saved model.
    """
    try:
        return read_table(SavedConfig, read_json(folder / CONFIG))
    except Exception as error:  # numbers of any size and nesting of any depth among them
        raise unusable(folder / CONFIG, error) from error


def unusable(path: Path, error: BaseException) -> InputError:
    """The exception that says that a file of a model cannot be used, and why."""
    reason = error.strerror if isinstance(error, OSError) else one_line(error)
    return InputError(f"{path} cannot be used as a saved model: {reason}; save the model again, or give another folder")
