"""What is known of each row of an image store, as JSON: a journal that grows line by line, or one whole file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from dpq.files import write_atomically
from dpq.json_text import parse_json


class Record(NamedTuple):
    """What is known of a stored row.

    Attributes:
        pixels: SHA-256 of its pixels.
        file: SHA-256 of the image file; None where there is a problem.
        problem: why the file cannot be used; None where it can.
        state: of the file when it was decoded; another one means another content.
    """

    pixels: str
    file: str | None
    problem: str | None
    state: str


def journal_lines(records: Mapping[int, Record]) -> str:
    """A line for each row; a later line for the same row counts."""
    return "".join(json.dumps([row, *record]) + "\n" for row, record in records.items())


def read_journal(path: Path) -> dict[int, Record]:
    """The records of a journal by row; none where it is missing, and without its last line where that is torn."""
    records = {}
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError):
                row, *record = parse_json(line)
                records[_whole(row)] = _record(record)
    return records


def write_about(path: Path, records: Sequence[Record], changed: int, remedy: str) -> None:
    """Writes the records of a finished store.

    Args:
        path: the file.
        records: of all rows, in order.
        changed: time of change of the pixels, in nanoseconds.
        remedy: what the message of a failure says to do.

    Raises:
        InputError: the folder cannot be written.
    """
    about = {"mtime_ns": changed, "sha256": _digest(records), "records": records}
    write_atomically(path, json.dumps(about), remedy)


def read_about(path: Path, count: int) -> tuple[list[Record], int] | None:
    """The `count` records and the time of change of the pixels; None where the file is missing or damaged."""
    try:
        about = parse_json(path.read_text("utf-8"))
        records = [_record(record) for record in about["records"]]
        whole = len(records) == count and about["sha256"] == _digest(records)
        return (records, _whole(about["mtime_ns"])) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(values: Any) -> Record:
    """A record from JSON; a TypeError where it is none."""
    record = Record(*values)
    texts = (record.pixels, record.state, record.file or "", record.problem or "")
    if not isinstance(values, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("no record of a row")
    return record


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def _digest(records: Sequence[Record]) -> str:
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()
