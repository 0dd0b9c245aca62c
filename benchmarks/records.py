"""Result records: one JSON a run, and beside it the raw codes from which every metric can be made again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpq.errors import InputError
from dpq.files import write_atomically

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RawResult:
    """What a run leaves besides its metrics (`<id>.npz`, not committed).

    Attributes:
        codes: [N, M] uint8, database.
        codebooks: [M, K, D] float32.
        queries: [Q, D] float32 query embeddings.
        query_labels: [Q, L] bool.
        database_labels: [N, L] bool.
    """

    codes: np.ndarray
    codebooks: np.ndarray
    queries: np.ndarray
    query_labels: np.ndarray
    database_labels: np.ndarray


def digest(value: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def record_path(output: Path, experiment: str, identity: str) -> Path:
    """Where the record of a run lies."""
    return output / experiment / "runs" / f"{identity}.json"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record whole or not at all; numbers that are not finite are refused."""
    write_atomically(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        InputError: missing, no JSON, or of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read record {path}: {error}") from error
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} is no result record of schema {SCHEMA_VERSION}; give a file from <output>/<experiment>/runs"
        )
    return record


def read_records(output: Path, experiment: str) -> list[dict[str, Any]]:
    """All records of an experiment, by file name."""
    return [read_record(path) for path in sorted((output / experiment / "runs").glob("*.json"))]


def write_raw(path: Path, raw: RawResult) -> None:
    """Write the raw result beside its record (`path` ends in `.npz`)."""
    stream = io.BytesIO()
    np.savez(stream, **vars(raw))
    write_atomically(path, stream.getvalue())


def read_raw(path: Path) -> RawResult:
    """Read a raw result; nothing is unpickled.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(
            f"the raw codes {path} are not there (they are not committed); run the experiment again to make them"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return RawResult(**{name: arrays[name] for name in arrays.files})
    except Exception as error:
        raise InputError(f"{path} is damaged ({error}); run the experiment again with --force") from error
