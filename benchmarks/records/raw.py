"""Raw results: what a run leaves besides its metrics, from which every one of them can be computed again."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import numpy as np
from numpy.lib import format as npy

from benchmarks.records.record import Record
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.places import is_file


@dataclass(frozen=True)
class RawResult:
    """What a run leaves besides its metrics (`<id>.npz`, not committed).

    Annotations say type and axes of every array; an axis has one length wherever it occurs.
    """

    codes: Annotated[np.ndarray, np.uint8, "NM"]  # of the database
    codebooks: Annotated[np.ndarray, np.float32, "MKD"]
    queries: Annotated[np.ndarray, np.float32, "QD"]  # embeddings
    query_labels: Annotated[np.ndarray, np.bool_, "QL"]
    database_labels: Annotated[np.ndarray, np.bool_, "NL"]


_FORM = {name: hint.__metadata__ for name, hint in get_type_hints(RawResult, include_extras=True).items()}


def write_raw(path: Path, raw: RawResult) -> None:
    """Write the raw result beside its record (`path` ends in `.npz`)."""
    stream = io.BytesIO()
    np.savez(stream, **vars(raw))
    write_atomically(path, stream.getvalue())


def read_raw(path: Path) -> RawResult:
    """Read a raw result; nothing is unpickled, and never more is taken into memory than the file has bytes.

    Raises:
        InputError: missing or damaged, or no raw result.
    """
    if not is_file(path):
        raise InputError(
            f"the raw codes {path} are not there (they are not committed); run the experiment again to make them"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _arrays(archive)
        _check(arrays)
    except Exception as error:  # zipfile and numpy raise nearly anything on damaged files
        raise InputError(f"{path} is damaged ({one_line(error)}); run the experiment again with --force") from error
    return RawResult(**arrays)


def check_fits(raw: RawResult, record: Record) -> None:
    """Refuse raw codes whose sizes are not those of a record.

    Raises:
        InputError: names the first that differs.
    """
    levels, size, width = raw.codebooks.shape
    longest = record.lengths[-1].bits
    for what, found, wanted in (
        ("queries", len(raw.queries), record.data.query),
        ("database images", len(raw.codes), record.data.database),
        ("codewords per level", size, record.config.codebook_size),
        ("dimensions", width, record.backbone.embedding_dim),
        ("bits", levels * int(math.log2(size)), longest),
    ):
        if found != wanted:
            raise InputError(
                f"the raw codes beside {record.id} are of another run: {found} {what}, the record has {wanted}; "
                "run the experiment again with --force"
            )


def _arrays(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    wanted = sorted(f"{name}.npy" for name in _FORM)
    if names != wanted:
        raise ValueError(f"it holds {', '.join(names[:8]) or 'nothing'}; needs {', '.join(wanted)}")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed")
    return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """The array of a member whose header asks for just the bytes that are there."""
    kind, axes = _FORM[member.filename.removesuffix(".npy")]
    with archive.open(member) as stream:
        if npy.read_magic(stream) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError(f"{member.filename} has another version of numpy's format")
        shape, column_major, dtype = npy.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
        if dtype != kind or len(shape) != len(axes) or not all(shape):
            raise ValueError(f"{member.filename} is {dtype} {list(shape)}; needs {np.dtype(kind)} [{', '.join(axes)}]")
        content = stream.read()  # to the end, where the check sum is compared
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename} has {len(content)} bytes for the shape {list(shape)}")
    return np.frombuffer(bytearray(content), dtype).reshape(shape, order="F" if column_major else "C")


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    lengths: dict[str, int] = {}
    for name, (kind, axes) in _FORM.items():
        array = arrays[name]
        for axis, length in zip(axes, array.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise ValueError(f"{name} has {length} along {axis}, another array {lengths[axis]}")
        if kind is np.float32 and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a number that is not finite")
        if kind is np.bool_ and array.view(np.uint8).max() > 1:
            raise ValueError(f"{name} holds what is neither true nor false")
    if arrays["codes"].max() >= lengths["K"]:
        raise ValueError(f"codes go up to {arrays['codes'].max()}, but a level has {lengths['K']} codewords")
