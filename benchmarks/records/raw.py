"""Raw results: what a run leaves besides its metrics, from which every one of them can be computed again."""

from __future__ import annotations

import io
import logging
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.lib import format as npy

from benchmarks.records.record import Record
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.places import is_file

log = logging.getLogger(__name__)


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
    run: str | None = None  # whose it is (`run_of`); None of older files

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the file holds, by name."""
        run = {} if self.run is None else {"run": np.frombuffer(self.run.encode(), np.uint8)}
        return {name: value for name, value in vars(self).items() if name != "run"} | run


_FORM = {
    name: hint.__metadata__
    for name, hint in get_type_hints(RawResult, include_extras=True).items()
    if hasattr(hint, "__metadata__")
} | {"run": (np.uint8, "B")}  # in UTF-8


def run_of(table: Mapping[str, Any]) -> str:
    """What a record and its raw result have in common, and those of another run have not, by the record's table."""
    return f"{table['id']} {table['created']}"


def write_raw(path: Path, raw: RawResult) -> None:
    """Write the raw result beside its record (`path` ends in `.npz`)."""
    stream = io.BytesIO()
    np.savez(stream, **raw.arrays)  # type: ignore[arg-type]
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
    run = arrays.pop("run", None)
    return RawResult(**arrays, run=None if run is None else run.tobytes().decode(errors="replace"))


def check_fits(raw: RawResult, record: Record) -> None:
    """Refuse raw codes that are not those of a record.

    Files of before raw codes named their record are told by their sizes and the use of their codewords, which is said.

    Raises:
        InputError: names the first that differs.
    """
    levels, size, width = raw.codebooks.shape
    longest = record.lengths[-1].bits
    again = "run the experiment again with --force"
    if raw.run is None:
        log.info("the raw codes beside %s do not name their run: sizes and use of codewords are compared", record.id)
    elif raw.run != run_of(record.raw):
        raise InputError(f"the raw codes beside {record.id} are of another run, {raw.run}; {again}")
    sizes = (
        ("queries", len(raw.queries), record.data.query),
        ("database images", len(raw.codes), record.data.database),
        ("codewords per level", size, record.config.codebook_size),
        ("dimensions", width, record.backbone.embedding_dim),
        ("bits", levels * int(math.log2(size)), longest),
        ("labels", raw.query_labels.shape[1], len(record.data.coarse) or raw.query_labels.shape[1]),
    )
    for what, found, wanted in chain(sizes, _uses(raw, record)):
        if found != wanted:
            raise InputError(
                f"the raw codes beside {record.id} are of another run: {found} {what}, the record has {wanted}; {again}"
            )


def _uses(raw: RawResult, record: Record) -> Iterator[tuple[str, float, float]]:
    """What codes alone say of themselves, as they have it and as the record has it."""
    step = int(math.log2(raw.codebooks.shape[1]))
    for length in record.lengths:
        prefix = raw.codes[:, : length.bits // step]
        yield f"different codes of {length.bits} bits", len(np.unique(prefix, axis=0)), length.distinct_codes
    for level, (codes, used) in enumerate(zip(raw.codes.T, record.codewords_used, strict=False), 1):
        yield f"codewords of level {level}", len(np.unique(codes)), used
    for level, (codes, said) in enumerate(zip(raw.codes.T, record.codeword_perplexity, strict=False), 1):
        share = np.bincount(codes)[np.unique(codes)] / len(codes)
        perplexity = float(np.exp(-(share * np.log(share)).sum()))
        near = abs(perplexity - said) < 0.1  # it is rounded to one digit in the record
        yield f"of perplexity at level {level}", said if near else round(perplexity, 1), said


def _arrays(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    wanted = sorted(f"{name}.npy" for name in _FORM)
    if names not in (wanted, [name for name in wanted if name != "run.npy"]):
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
    for name, array in arrays.items():
        kind, axes = _FORM[name]
        for axis, length in zip(axes, array.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise ValueError(f"{name} has {length} along {axis}, another array {lengths[axis]}")
        if kind is np.float32 and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a number that is not finite")
        if kind is np.bool_ and array.view(np.uint8).max() > 1:
            raise ValueError(f"{name} holds what is neither true nor false")
    if arrays["codes"].max() >= lengths["K"]:
        raise ValueError(f"codes go up to {arrays['codes'].max()}, but a level has {lengths['K']} codewords")
