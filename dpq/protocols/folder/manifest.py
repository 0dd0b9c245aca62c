"""Reads `manifest.csv`: one image per line, with its path, labels and split."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from dpq.errors import InputError
from dpq.protocols.base import SPLITS, SplitName
from dpq.protocols.folder.class_folders import Entry, normal_name
from dpq.protocols.image_files import NAMED
from dpq.protocols.listed.lists import is_plain, read_lines, relative_path

MANIFEST = "manifest.csv"
COLUMNS = ("path", "labels", "split")
_SEPARATOR = re.compile("[|;]")


def read_manifest(root: Path, strip_prefix: str | None = None) -> list[Entry]:
    """The images that `manifest.csv` in a folder lists, sorted by path; none is opened, and they may be missing.

    A header names the columns `path`, `labels` and `split`, in any order; others are ignored. Several labels are
    separated by '|' or ';', and so are the splits of an image that is in the database as well. Empty lines are passed
    over, and comments: lines that start with '#' and hold no comma, so that none is an image's.

    Args:
        root: the folder, free of symbolic links.
        strip_prefix: folder that every path starts with and that is cut off.

    Raises:
        InputError: unreadable, another header, or lines with faults, of which the first are named.
    """
    manifest = root / MANIFEST
    lines = read_lines(manifest, _is_comment)
    number, header = next(lines)
    columns = _columns(manifest, number, header)
    entries: dict[str, Entry] = {}
    first_line: dict[str, int] = {}
    faults, about = [], None
    for number, line in lines:
        try:
            entry = _entry(columns, line, strip_prefix)
            if entry.path in entries:
                raise ValueError(f"{entry.path!r} is listed in line {first_line[entry.path]} already")
            entries[entry.path], first_line[entry.path] = entry, number
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            about = about or getattr(error, "about", None)
    if faults:
        more = f"; and {len(faults) - NAMED} more lines" if len(faults) > NAMED else ""
        raise InputError(f"{manifest}: {'; '.join(faults[:NAMED])}{more}", about)
    if not entries:
        raise InputError(f"{manifest} lists no images; write a line for each under its header")
    return sorted(entries.values(), key=lambda entry: entry.path)


def _is_comment(line: str) -> bool:
    return line.startswith("#") and "," not in line


def _columns(manifest: Path, number: int, header: str) -> list[str]:
    try:
        columns = [name.strip().lower() for name in _fields(header)]
    except ValueError:
        columns = []
    if missing := [name for name in COLUMNS if columns.count(name) != 1]:
        raise InputError(
            f"{manifest}:{number}: the header must name the column {missing[0]!r} once; its columns are "
            f"{','.join(COLUMNS)}, separated by commas"
        )
    return columns


def _entry(columns: list[str], line: str, strip_prefix: str | None) -> Entry:
    fields = _fields(line)
    if len(fields) != len(columns):
        raise ValueError(f"has {len(fields)} columns, the header {len(columns)}; quote fields that hold a comma")
    row = dict(zip(columns, fields, strict=True))
    path = relative_path(row["path"].strip(), strip_prefix, is_plain)
    labels = tuple(dict.fromkeys(normal_name(name) for name in _parts(row["labels"])))
    if not labels:
        raise ValueError(f"{path!r} has no label; write at least one")
    return Entry(path, labels, _splits(row["split"]))


def _splits(field: str) -> tuple[SplitName, ...]:
    splits = set(_parts(field))
    if not splits or not splits <= set(SPLITS):
        raise ValueError(f"split {field!r} is none of {', '.join(SPLITS)}")
    if {"train", "query"} <= splits:
        raise ValueError(f"split {field!r}: a training image cannot be a query")
    return tuple(name for name in SPLITS if name in splits)


def _parts(field: str) -> Iterable[str]:
    return (part.strip() for part in _SEPARATOR.split(field) if part.strip())


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(f"is no line of a CSV file ({error}); mend its quotation marks") from None
