"""Raw results: what a run leaves besides its metrics, from which every one of them can be computed again.

`<id>.npz` beside a record has them in full and is not committed; `<id>.npz.xz` is its compact form, which is, for rows
that readers rank again.
"""

from __future__ import annotations

import io
import logging
import lzma
import math
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.lib import format as npy

from benchmarks.records.record import Record
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import read_bounded
from dpq.files.places import is_file

log = logging.getLogger(__name__)

COMPACT = ".npz.xz"
MOST_BYTES = 1 << 28  # that a compact file may unpack to; of 54,000 images it has 2 MB
_WORKING_BYTES = 1 << 26  # that unpacking may take besides
# In steps of two bytes, which is what half precision has.
_PACKING = ({"id": lzma.FILTER_LZMA2, "preset": 6, "lp": 1, "pb": 1},)
_HALVED = ("codebooks", "queries")  # in half precision, in the compact form


@dataclass(frozen=True)
class RawResult:
    """What a run leaves besides its metrics.

    Annotations say type and axes of every array; an axis has one length wherever it occurs.
    """

    codes: Annotated[np.ndarray, np.uint8, "NM"]  # of the database
    codebooks: Annotated[np.ndarray, np.float32, "MKD"]
    queries: Annotated[np.ndarray, np.float32, "QD"]  # embeddings
    query_labels: Annotated[np.ndarray, np.bool_, "QL"]
    database_labels: Annotated[np.ndarray, np.bool_, "NL"]
    average_precision: Annotated[np.ndarray | None, np.float32, "TQ"] = None  # by length; None of older files
    query_codes: Annotated[np.ndarray | None, np.uint8, "QM"] = None  # None of older files
    # Of a method that has a decoder: of the different codes, ascending, of every length one after the other.
    reconstructions: Annotated[np.ndarray | None, np.float32, "VD"] = None
    run: str | None = None  # whose it is (`run_of`); None of older files

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the file holds, by name."""
        run = {} if self.run is None else {"run": np.frombuffer(self.run.encode(), np.uint8)}
        return {name: value for name, value in vars(self).items() if name != "run" and value is not None} | run


_FORM = {
    name: hint.__metadata__
    for name, hint in get_type_hints(RawResult, include_extras=True).items()
    if hasattr(hint, "__metadata__")
} | {"run": (np.uint8, "B")}  # in UTF-8
_LATER = {"average_precision", "query_codes", "reconstructions", "run"}  # which older files lack, or which not all have


def run_of(table: Mapping[str, Any]) -> str:
    """What a record and its raw result have in common, and those of another run have not, by the record's table."""
    return f"{table['id']} {table['created']}"


def write_raw(path: Path, raw: RawResult) -> None:
    """Write the raw result beside its record: `path` ends in `.npz`, or in `COMPACT` for the compact form.

    The compact form has codebooks and queries in half precision, each array with one step for all of its numbers, 2^-10
    of the power of two above the largest, which compresses better. Nothing else is rounded.
    """
    arrays = raw.arrays
    if path.name.endswith(COMPACT):
        arrays |= {name: _halved(arrays[name]) for name in _HALVED}
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    content = stream.getvalue()
    write_atomically(path, lzma.compress(content, filters=_PACKING) if path.name.endswith(COMPACT) else content)


def _halved(array: np.ndarray) -> np.ndarray:
    step = 2.0 ** (int(np.frexp(np.abs(array).max())[1]) - 10)
    return (np.round(array / step) * step).astype(np.float16)


def read_raw(path: Path) -> RawResult:
    """Read a raw result, by the end of its name the full or the compact form, here in single precision.

    Nothing is unpickled, and never more is taken into memory than the file has bytes, `MOST_BYTES` of a compact one.

    Raises:
        InputError: missing or damaged, or no raw result.
    """
    if not is_file(path):
        raise InputError(
            f"the raw codes {path} are not there (they are not committed); run the experiment again to make them"
        )
    try:
        compact = path.name.endswith(COMPACT)
        with zipfile.ZipFile(io.BytesIO(_unpacked(path)) if compact else path) as archive:
            arrays = _arrays(archive, _HALVED if compact else ())
        _check(arrays)
    except Exception as error:  # zipfile and numpy raise nearly anything on damaged files
        raise InputError(f"{path} is damaged ({one_line(error)}); run the experiment again with --force") from error
    run = arrays.pop("run", None)
    arrays |= {name: arrays[name].astype(np.float32) for name in _HALVED}
    return RawResult(**arrays, run=None if run is None else run.tobytes().decode(errors="replace"))


def committed_average_precision(path: Path, record: Record) -> np.ndarray | None:
    """Average precision of every query at every length of a record, [T, Q] float64; None without its compact file.

    The full form is left alone: it is not committed, and pages are to be the same on every machine.

    Args:
        path: of the record.
        record: what it holds.

    Raises:
        InputError: the compact file is damaged, or its means are not the mAP of the record.
    """
    beside = path.with_suffix(COMPACT)
    if not is_file(beside) or (found := read_raw(beside).average_precision) is None:
        return None
    average = found.astype(np.float64)
    means = [length.map for length in record.lengths]
    if average.shape != (len(means), record.data.query) or not np.allclose(average.mean(axis=1), means, atol=1e-5):
        raise InputError(f"{beside} is not of the record beside it; make it again with evaluate --compact")
    return average


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
        ("code lengths", len(record.lengths if (each := raw.average_precision) is None else each), len(record.lengths)),
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


def _unpacked(path: Path) -> bytes:
    """The content of a file in xz, if it is whole and no larger than a compact result."""
    unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WORKING_BYTES)
    content = unpack.decompress(read_bounded(path, MOST_BYTES), MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
    if not unpack.eof or unpack.unused_data:
        raise ValueError("it ends before what was packed, or goes on behind it")
    return content


def _arrays(archive: zipfile.ZipFile, halved: Collection[str]) -> dict[str, np.ndarray]:
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    wanted = sorted(f"{name}.npy" for name in _FORM)
    lacking = {name.removesuffix(".npy") for name in set(wanted).difference(names)}
    if not lacking <= _LATER or len(names) + len(lacking) != len(wanted):
        raise ValueError(f"it holds {', '.join(names[:8]) or 'nothing'}; needs {', '.join(wanted)}")
    return {member.filename.removesuffix(".npy"): _array(archive, member, halved) for member in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, halved: Collection[str]) -> np.ndarray:
    name = member.filename.removesuffix(".npy")
    kind, axes = _FORM[name]
    kind = np.float16 if name in halved else kind

    def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if dtype != kind or len(shape) != len(axes) or not all(shape):
            raise ValueError(f"{member.filename} is {dtype} {list(shape)}; needs {np.dtype(kind)} [{', '.join(axes)}]")

    return stored_array(archive, member, check)


def stored_array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, check: Callable[[tuple[int, ...], np.dtype[Any]], None]
) -> np.ndarray:
    """The array of a member whose header asks for just the bytes that are there; nothing is unpacked or unpickled.

    Args:
        archive: of NumPy's arrays.
        member: of it.
        check: refuses, with a `ValueError`, a shape and type, before there is an array; those of objects at least.

    Raises:
        ValueError: compressed, in another version of NumPy's format, refused, or of another number of bytes.
    """
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with archive.open(member) as stream:
        if npy.read_magic(stream) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError(f"{member.filename} has another version of numpy's format")
        shape, column_major, dtype = npy.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
        check(shape, dtype)
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
    averages = arrays.get("average_precision", np.zeros(1))
    if averages.min() < 0 or averages.max() > 1:
        raise ValueError("average_precision holds what is not from 0 to 1")
    if arrays["codes"].max() >= lengths["K"]:
        raise ValueError(f"codes go up to {arrays['codes'].max()}, but a level has {lengths['K']} codewords")
