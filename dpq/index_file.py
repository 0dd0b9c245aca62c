"""An index as one safetensors file, with what it is of in the file's metadata.

Reading unpickles nothing, and no parser of Faiss sees the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from dpq.checkpoint import read_checked, save_checkpoint
from dpq.errors import InputError, one_line
from dpq.schema import read_table
from dpq.scores import Score
from dpq.version import __version__

SCHEMA_VERSION: Final = 1
_TYPES = {
    "codes": torch.uint8,
    "codebooks": torch.float32,
    "ids": torch.int64,
    "names": torch.uint8,
    "centroids": torch.float32,
}
_OPTIONAL = {"names", "centroids"}

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where the codes of an index come from; texts are empty where nothing is known.

    Attributes:
        model: folder of the model, relative to that of the index file.
        model_sha256: of its tensors.
        images: folder that names are relative to, relative to that of the index file.
    """

    model: str = ""
    model_sha256: str = ""
    images: str = ""


NOWHERE = Origin()


@dataclass(frozen=True)
class Contents:
    """What a file holds; attributes as of `dpq.search.CodeIndex`, with tensors for arrays."""

    codes: Tensor
    codebooks: Tensor
    score: Score
    ids: Tensor
    names: tuple[str, ...]
    centroids: Tensor | None
    origin: Origin


@dataclass(frozen=True)
class _Header:
    schema_version: Literal[1]
    dpq_version: str
    score: Score
    origin: Origin


def write_index(path: Path, contents: Contents) -> None:
    """Write the file whole or not at all; an index that was there before is replaced.

    Raises:
        InputError: there is something else at that path, or it cannot be written.
    """
    refuse_others(path)
    tensors = {"codes": contents.codes, "codebooks": contents.codebooks, "ids": contents.ids}
    if contents.names:
        text = "\0".join(contents.names).encode()
        tensors["names"] = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    if contents.centroids is not None:
        tensors["centroids"] = contents.centroids
    header = _Header(SCHEMA_VERSION, __version__, contents.score, contents.origin)
    save_checkpoint(path, tensors, asdict(header))


def refuse_others(path: Path) -> None:
    """Refuse to write an index over a file of something else.

    Raises:
        InputError: there is such a file, or a folder.
    """
    from safetensors import safe_open

    if not path.exists():
        return
    try:
        with safe_open(path, "pt") as file:
            if {"codes", "codebooks", "ids"} <= set(file.keys()):
                return
    except Exception:  # whatever the reader raises, it is no index
        pass
    raise InputError(f"{path} is no index, and would be overwritten; choose another path")


def is_no_text(text: str) -> bool:
    """Whether a text is none that a path or UTF-8 can hold."""
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)


def read_index(path: Path, make: Callable[[Contents], T]) -> T:
    """What `make` makes of the contents of a file that `write_index` wrote.

    Raises:
        InputError: it is missing, damaged, of something else or of a later version, or `make` refuses it.
    """
    if not path.is_file():
        raise InputError(f"no index {path}; correct the path, or make one with: python -m dpq index build")
    try:
        tensors, state = read_checked(path)
        return make(_contents(tensors, state))
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise InputError(f"{path} cannot be used as an index: {one_line(error)}; build it again") from error


def _contents(tensors: dict[str, Tensor], state: dict[str, object]) -> Contents:
    header = read_table(_Header, state)
    if any(map(is_no_text, asdict(header.origin).values())):
        raise ValueError("its origin holds what no path can")
    for name, kind in _TYPES.items():
        if name not in tensors and name not in _OPTIONAL:
            raise ValueError(f"it has no {name}")
        if name in tensors and tensors[name].dtype != kind:
            raise ValueError(f"its {name} are {tensors[name].dtype}, not {kind}")
    names: tuple[str, ...] = ()
    if "names" in tensors:
        names = tuple(tensors["names"].numpy().tobytes().decode().split("\0"))
    return Contents(
        tensors["codes"],
        tensors["codebooks"],
        header.score,
        tensors["ids"],
        names,
        tensors.get("centroids"),
        header.origin,
    )
