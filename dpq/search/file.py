"""An index as one safetensors file, with what it is of in the file's metadata.

Reading unpickles nothing, and no parser of Faiss sees the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from dpq.errors import InputError, one_line
from dpq.files.checkpoint import read_checked, save_checkpoint
from dpq.files.places import exists, is_file
from dpq.files.schema import read_table
from dpq.learning.settings import Score
from dpq.version import __version__

_TYPES = {
    "codes": torch.uint8,
    "codebooks": torch.float32,
    "ids": torch.int64,
    "names": torch.uint8,
    "centroids": torch.float32,
    "removed": torch.int64,  # ids; older files do not have them
}
_NEEDED = ("codes", "codebooks", "ids")

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where the codes of an index come from; texts are empty where nothing is known."""

    model: str = ""  # folder of the model, relative to that of the index file
    model_sha256: str = ""  # of its tensors
    images: str = ""  # folder that names are relative to, relative to that of the index file


@dataclass(frozen=True)
class _Header:
    schema_version: Literal[1]
    dpq_version: str
    score: Score
    origin: Origin
    next_id: Annotated[int, Ge(0)] | None = None  # older files do not have it


def write_index(
    path: Path,
    tensors: Mapping[str, Tensor],
    names: Sequence[str],
    score: Score,
    origin: Origin,
    next_id: int | None = None,
) -> None:
    """Write the file whole or not at all; an index that was there before is replaced.

    Args:
        path: the file.
        tensors: codes, codebooks and ids of an index, and centroids and removed ids if it has any.
        names: of its images, or none.
        score: of the index.
        origin: of its codes.
        next_id: of the index, as no id is given twice.

    Raises:
        InputError: there is something else at that path, or it cannot be written.
    """
    refuse_others(path)
    if names:
        tensors = {**tensors, "names": torch.from_numpy(np.frombuffer("\0".join(names).encode(), np.uint8).copy())}
    save_checkpoint(path, tensors, asdict(_Header(1, __version__, score, origin, next_id)))


def refuse_others(path: Path) -> None:
    """Refuse to write an index over a file of something else.

    Raises:
        InputError: there is such a file, or a folder.
    """
    from safetensors import safe_open

    if not exists(path):
        return
    try:
        with safe_open(path, "pt") as file:
            if set(_NEEDED) <= set(file.keys()):
                return
    except Exception:  # whatever the reader raises, it is no index
        pass
    raise InputError(f"{path} is no index, and would be overwritten; choose another path")


def is_no_text(text: str) -> bool:
    """Whether this text cannot be a path or UTF-8."""
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)


def read_index(path: Path, make: Callable[..., T]) -> T:
    """Read a file that `write_index` wrote, and return what `make` builds from its arguments of a `CodeIndex`.

    Raises:
        InputError: it is missing, damaged, of something else or of a later version, or `make` refuses it.
    """
    if not is_file(path):
        raise InputError(f"no index {path}; correct the path, or make one with: python -m dpq index build")
    try:
        tensors, state = read_checked(path)
        return make(**_arguments(tensors, state))
    except Exception as error:  # whatever the reader raises, the file is unusable
        raise InputError(f"{path} cannot be used as an index: {one_line(error)}; build it again") from error


def _arguments(tensors: dict[str, Tensor], state: dict[str, object]) -> dict[str, Any]:
    header = read_table(_Header, state)
    if any(map(is_no_text, asdict(header.origin).values())):
        raise ValueError("its origin holds what no path can")
    for name, kind in _TYPES.items():
        if name not in tensors and name in _NEEDED:
            raise ValueError(f"it has no {name}")
        if name in tensors and tensors[name].dtype != kind:
            raise ValueError(f"its {name} are {tensors[name].dtype}, not {kind}")
    found: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if name in _TYPES}
    if "names" in found:
        found["names"] = tuple(found["names"].numpy().tobytes().decode().split("\0"))
    return {
        **found,
        "ids": found["ids"].numpy(),
        "score": header.score,
        "origin": header.origin,
        "next_id": header.next_id,
    }
