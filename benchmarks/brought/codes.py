"""Somebody's codes from an .npz file, in one of three forms, as the raw result that all metrics are computed from.

Axes: Q queries, N database, M levels, K codewords, D dimensions, B bits, U different embeddings.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.brought.lists import ImageList
from benchmarks.records.raw import RawResult, stored_array
from benchmarks.records.record import Kind, Origin
from dpq.codes.additive import check_codebook_size
from dpq.errors import InputError, one_line
from dpq.files.places import is_file
from dpq.protocols.base import Dataset, SplitName

# What a file must hold in each form: the axes of every array.
FORMS: Mapping[Kind, Mapping[str, str]] = {
    "additive": {"codes": "NM", "codebooks": "MKD", "queries": "QD"},
    "binary": {"database_bits": "NB", "query_bits": "QB"},
    "embeddings": {"database": "ND", "queries": "QD"},
}
_MAY = {"query_ids": "Q", "database_ids": "N"}
_OF_QUERIES = {"query_codes": "QM"}  # of additive codes, which the symmetric score asks for
_OF_A_RUN = ("query_labels", "database_labels", "average_precision", "run")  # that a raw result of ours has besides
_KINDS = {  # of NumPy's types; all others are real numbers
    **dict.fromkeys(("codes", "query_codes"), ("iu", "whole numbers")),
    **dict.fromkeys(("database_bits", "query_bits"), ("biuf", "numbers")),
    **dict.fromkeys(_MAY, ("USiu", "texts or whole numbers")),
}
_MOST_BITS = 1024  # of additive and binary codes
_MOST_DIMENSIONS = 2**15
_LARGEST = 1e12  # of a real number: no score of so many dimensions and bits overflows float32


@dataclass(frozen=True)
class BroughtCodes:
    """What a file holds, in its own order."""

    origin: Origin
    arrays: Mapping[str, NDArray[Any]]  # by name, of one form

    def raw(self, dataset: Dataset, bits: Sequence[int]) -> RawResult:
        """In the order of the data set's lists, as all metrics are computed from it.

        Args:
            dataset: whose queries and database these are.
            bits: lengths to read; of binary codes any.

        Raises:
            InputError: there are not as many rows as images, or they are of other images.
        """
        arrays = dict(self.arrays)
        sides: dict[SplitName, tuple[str, ...]] = {
            "query": ("queries", "query_bits", "query_codes"),
            "database": ("codes", "database_bits", "database"),
        }
        for split, names in sides.items():
            images, ids = len(getattr(dataset, split)), arrays.pop(f"{split}_ids", None)
            there = [name for name in names if name in arrays]
            if len(arrays[there[0]]) != images:
                raise InputError(
                    f"{there[0]} has {len(arrays[there[0]])} rows, {dataset.protocol} has {images} {split} images; "
                    f"give one a line of {split}.csv, which --lists writes"
                )
            if ids is not None:
                rows = ImageList.of(dataset, split).rows(ids)
                arrays |= {name: arrays[name][rows] for name in there}
        labels = dataset.query.labels.numpy(), dataset.database.labels.numpy()
        if self.origin.kind == "binary":
            codes, codebooks = sign_codes(arrays["database_bits"], math.gcd(8, *bits, self.origin.dim))
            return RawResult(codes, codebooks, arrays["query_bits"].astype(np.float32), *labels)
        if self.origin.kind == "embeddings":
            codes, words = _counted(arrays["database"])
            said = np.zeros((codes.shape[1], 256, self.origin.dim), np.float32)
            return RawResult(codes, said, arrays["queries"], *labels, reconstructions=words)
        return RawResult(
            arrays["codes"], arrays["codebooks"], arrays["queries"], *labels, query_codes=arrays.get("query_codes")
        )


def read_codes(path: Path) -> BroughtCodes:
    """Read somebody's codes; nothing is unpickled or unpacked, and no more is read than the file has bytes.

    Real numbers become float32, and of binary codes 0 becomes -1.

    Raises:
        InputError: no such file, or it holds something else than one of `FORMS`.
    """
    if not is_file(path):
        raise InputError(f"no file {path}; give an .npz file that numpy.savez has written")
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError("its arrays unpack to more than the file has: numpy.savez does not compress")
            kind, axes = _form(list(members))
            read = {
                name: stored_array(archive, members[name], partial(_check_type, name, axes[name]))
                for name in axes
                if name in members
            }
        _check_axes(read, axes)
        arrays = {name: _usable(name, array) for name, array in read.items()}
        if kind == "binary":
            arrays |= _signs({name: arrays[name] for name in FORMS["binary"]})
        return BroughtCodes(_origin(kind, sha256, arrays), arrays)
    except Exception as error:  # zipfile and numpy raise nearly anything on damaged files
        raise InputError(
            f"{path} cannot be scored ({one_line(error)}); write it with numpy.savez as docs/score.md shows"
        ) from error


def sign_codes(signs: NDArray[Any], step: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Binary codes as sums of codewords, each of them all signs of `step` bits and 0 elsewhere.

    The inner product of signs with such a sum is the number of equal bits less that of others, which is the order of
    Hamming distances, exactly; so it is for every number of levels.

    Args:
        signs: [N, B] of +1 and -1.
        step: bits a level, a divisor of B from 1 to 8.

    Returns:
        Codes [N, B / step], and codebooks [B / step, 2**step, B].
    """
    levels = signs.shape[1] // step
    codes = ((signs > 0).reshape(len(signs), levels, step) << np.arange(step)).sum(axis=2).astype(np.uint8)
    words = 2.0 * (np.arange(2**step)[:, None] >> np.arange(step) & 1) - 1  # [K, step]
    codebooks = np.zeros((levels, 2**step, levels, step), np.float32)
    codebooks[np.arange(levels), :, np.arange(levels)] = words
    return codes, codebooks.reshape(levels, 2**step, -1)


def _counted(database: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes [N, M] that count the different embeddings [U, D], in ascending order, and these."""
    words, place = np.unique(database, axis=0, return_inverse=True)
    digits = max(1, math.ceil(math.log(len(words), 256)))
    codes = place.reshape(-1, 1) >> 8 * np.arange(digits)[::-1] & 255
    return codes.astype(np.uint8), words


def _form(names: Sequence[str]) -> tuple[Kind, dict[str, str]]:
    found = [kind for kind in get_args(Kind) if next(iter(FORMS[kind])) in names]
    wanted = "; or ".join(", ".join(form) for form in FORMS.values())
    if len(found) != 1 or not set(FORMS[found[0]]) <= set(names):
        raise ValueError(f"it holds {', '.join(sorted(names)[:8]) or 'nothing'}; needs {wanted}")
    axes = dict(FORMS[found[0]]) | (_OF_QUERIES if found[0] == "additive" else {}) | _MAY
    if "reconstructions" in names:
        raise ValueError("its codes are decoded by a network, and are no sums of codewords")
    if unknown := sorted(set(names) - set(axes) - set(_OF_A_RUN)):
        raise ValueError(f"it holds {unknown[0][:40]!r}, which is none of {', '.join(axes)}")
    return found[0], axes


def _check_type(name: str, axes: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    kinds, what = _KINDS.get(name, ("f", "real numbers"))
    if dtype.kind not in kinds or len(shape) != len(axes) or not all(shape):
        raise ValueError(f"{name} is {dtype} {list(shape)}; needs {what} [{', '.join(axes)}]")


def _check_axes(arrays: Mapping[str, NDArray[Any]], axes: Mapping[str, str]) -> None:
    lengths: dict[str, tuple[int, str]] = {}
    for name, array in arrays.items():
        for axis, length in zip(axes[name], array.shape, strict=True):
            known, where = lengths.setdefault(axis, (length, name))
            if known != length:
                raise ValueError(f"{name} has {length} along {axis}, {where} has {known}")


def _usable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """As it is worked with: codes uint8, real numbers float32 and finite."""
    if name in _OF_QUERIES or name == "codes":
        if array.min() < 0 or array.max() > 255:
            raise ValueError(f"{name} go from {array.min()} to {array.max()}; a codeword's number is from 0 to 255")
        return array.astype(np.uint8)
    if name in _KINDS:
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that is not finite in float32")
    if (largest := float(np.abs(array).max())) > _LARGEST:
        raise ValueError(
            f"{name} holds {largest:g}; above {_LARGEST:g} scores leave float32, so scale all arrays alike"
        )
    return array


def _signs(bits: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int8]]:
    """Bits of both sides as +1 and -1."""
    values = set(np.unique(np.concatenate([np.unique(array).astype(np.float64) for array in bits.values()])).tolist())
    if not (values <= {0, 1} or values <= {-1, 1}):
        shown = ", ".join(f"{value:g}" for value in sorted(values)[:5])
        raise ValueError(
            f"bits are 0 and 1, or -1 and 1, on both sides; got {shown} (packed bits: numpy.unpackbits; a sign of 0 "
            "is neither)"
        )
    return {name: np.where(array > 0, 1, -1).astype(np.int8) for name, array in bits.items()}


def _origin(kind: Kind, sha256: str, arrays: Mapping[str, NDArray[Any]]) -> Origin:
    if kind == "additive":
        levels, size, dim = arrays["codebooks"].shape
        bits = levels * (check_codebook_size(size).bit_length() - 1)
        for name in ("codes", "query_codes"):
            if name in arrays and (most := int(arrays[name].max())) >= size:
                raise ValueError(f"{name} go up to {most}, but a level has {size} codewords")
        origin = Origin(kind, sha256, dim, size)
    else:
        dim = arrays[next(iter(FORMS[kind]))].shape[1]
        bits, origin = dim if kind == "binary" else 1, Origin(kind, sha256, dim)
    if bits > _MOST_BITS:
        raise ValueError(f"a code has {bits} bits; {_MOST_BITS} are the most")
    if dim > _MOST_DIMENSIONS:
        raise ValueError(f"a row has {dim} dimensions; {_MOST_DIMENSIONS} are the most")
    return origin
