"""Result records: one JSON a run; `benchmarks.raw_results` has the codes beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.record_shape import SCHEMA_VERSION, check_record, package_to_install
from dpq.errors import InputError, one_line
from dpq.files import write_atomically
from dpq.json_text import read_json


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
        InputError: missing, no JSON, of another schema, of a method that is not installed, or not what tables, figures
            and pages can be made of.
    """
    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read record {path}: {one_line(error)}") from error
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} is no result record of schema {SCHEMA_VERSION}; give a file from <output>/<experiment>/runs"
        )
    if package := package_to_install(record):
        raise InputError(f"{path} is of a method that is not installed; install {package}, or move the record away")
    try:
        check_record(record)
    except InputError:  # of a broken package, which is no fault of the record
        raise
    except ValueError as error:
        raise InputError(f"{path} is no usable record: {one_line(error)}; get it again, or run with --force") from error
    return record


def read_records(output: Path, experiment: str) -> list[dict[str, Any]]:
    """All records of an experiment, by file name."""
    return [read_record(path) for path in sorted((output / experiment / "runs").glob("*.json"))]
