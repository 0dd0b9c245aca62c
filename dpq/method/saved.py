"""A trained model as a folder: `model.safetensors`, and `config.json` that says what the tensors are of.

Reading unpickles nothing and downloads nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
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
from dpq.files.schema import read_table
from dpq.learning.backbone import Preprocessing
from dpq.learning.settings import TrainingConfig
from dpq.method.config import DPQConfig

SCHEMA_VERSION: Final = 1
TENSORS, CONFIG = "model.safetensors", "config.json"
_REMEDY = "choose another path"


@dataclass(frozen=True)
class SavedBackbone:
    """The network, without where its first weights came from.

    Attributes:
        name: timm model name.
        pad_type: of its convolutions, where the weights asked for one; else empty.
        embedding_dim: D.
        preprocessing: what it expects of its input.
    """

    name: str
    pad_type: str
    embedding_dim: int
    preprocessing: Preprocessing


@dataclass(frozen=True)
class SavedConfig:
    """What `config.json` holds.

    Attributes:
        schema_version: of this table.
        dpq_version: of the library that wrote it.
        backbone: network and preprocessing.
        classes: L label names, in the order of the classifier's outputs.
        multi_label: images may carry several labels.
        bits: longest code.
        codebook_size: codewords per level K.
        method: objective and switches.
        training: optimisation, resolution and views.
        sha256: of `model.safetensors`.
    """

    schema_version: Literal[1]
    dpq_version: str
    backbone: SavedBackbone
    classes: tuple[str, ...]
    multi_label: bool
    bits: int
    codebook_size: int
    method: DPQConfig
    training: TrainingConfig
    sha256: str = ""


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

    folder = folder.resolve()
    refuse_others(folder)
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    table = asdict(config) | {"sha256": hashlib.sha256(content).hexdigest()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise InputError(f"cannot write {folder} ({error.strerror}); {_REMEDY}") from error
    try:
        write_atomically(fresh / TENSORS, content, _REMEDY)
        write_atomically(fresh / CONFIG, json.dumps(table, indent=2, ensure_ascii=False) + "\n", _REMEDY)
        _put_in_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def refuse_others(folder: Path) -> None:
    """Refuse to save a model over something else.

    Raises:
        InputError: there is a file, or a folder with other files.
    """
    if not folder.exists():
        return
    others = sorted({path.name for path in folder.iterdir()} - {TENSORS, CONFIG}) if folder.is_dir() else []
    if others or not folder.is_dir():
        what = f"a folder with other files ({others[0]})" if others else "a file"
        raise InputError(f"{folder} is {what}, which saving would overwrite; {_REMEDY}", "output")


def _put_in_place(fresh: Path, folder: Path) -> None:
    # A folder cannot be replaced in one step; in between there is none, never half of one.
    umask = os.umask(0)
    os.umask(umask)
    fresh.chmod(0o777 & ~umask)
    old = fresh.with_name(f"{fresh.name}.old")
    replaces = folder.exists()
    try:
        if replaces:
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        if replaces and old.exists():
            old.rename(folder)
        raise InputError(f"cannot write {folder} ({error.strerror}); {_REMEDY}") from error
    shutil.rmtree(old, ignore_errors=True)


def read_model(folder: Path) -> tuple[SavedConfig, dict[str, Tensor]]:
    """What `write_model` wrote.

    Raises:
        InputError: it is missing, damaged, written by something else or by a later version.
    """
    from safetensors.torch import load

    config = _read_config(folder / CONFIG)
    path = folder / TENSORS
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != config.sha256:
            raise ValueError(f"its check sum is another than {CONFIG} says")
        tensors = load(content)
        _check_sizes(config, tensors)
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise unusable(path, error) from error
    return config, tensors


def saved_digest(folder: Path) -> str:
    """SHA-256 of the tensors of a saved model, as its configuration says: one model has one.

    Raises:
        InputError: there is no saved model.
    """
    return _read_config(folder / CONFIG).sha256


def unusable(path: Path, error: BaseException) -> InputError:
    """The exception that says that a file of a model cannot be used, and why."""
    reason = error.strerror if isinstance(error, OSError) else one_line(error)
    return InputError(f"{path} cannot be used as a saved model: {reason}; save the model again, or give another folder")


def _read_config(path: Path) -> SavedConfig:
    try:
        return read_table(SavedConfig, read_json(path))
    except Exception as error:  # numbers of any size and nesting of any depth among them
        raise unusable(path, error) from error


def _check_sizes(config: SavedConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a configuration of other sizes than its tensors have, before anything of that size is made.

    Raises:
        ValueError: as said.
    """
    dim, classes = config.backbone.embedding_dim, len(config.classes)
    expected = {
        "quantizer.codebooks": (levels_for(config.bits, config.codebook_size), config.codebook_size, dim),
        "label_vectors": (classes, dim),
    }
    for name, shape in expected.items():
        if name not in tensors or tuple(tensors[name].shape) != shape:
            raise ValueError(f"it has no {name} of {list(shape)}, which {CONFIG} asks for")
