"""Reads list files: one image per line, its path and then its labels."""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dpq.errors import InputError, one_line
from dpq.files.places import is_file
from dpq.protocols.base import SPLITS, SplitName

T = TypeVar("T")

LabelForm = Callable[[str], tuple[str, str]]
"""Splits a line into its path and one '0' or '1' a class; a ValueError says what is wrong with the line.

Fields count from the end, so that paths may hold blanks; a path that ends like a label is refused.
"""


MAX_BYTES = 1 << 27  # unpacked; the longest published list, 128,503 images with 100 columns, has 32 MB
MAX_LINE = 4096
_DRIVE = re.compile("[A-Za-z]:")


def bits(classes: int) -> LabelForm:
    """One field of 0 or 1 for each of the classes, as in `a/b.jpg 0 1 0`."""

    def split(line: str) -> tuple[str, str]:
        path, *fields = line.rsplit(None, classes)
        row = "".join(fields)
        if len(fields) != classes or len(row) != classes or row.strip("01") or _ends_in_bit(path):
            found = sum(1 for _ in takewhile(("0", "1").__contains__, reversed(line.split())))
            before = ("", *line.split())[-1 - found]
            raise ValueError(f"ends in {found} bits (0 or 1) after {before!r}; needs a path and {classes} bits")
        return path, row

    return split


def column(classes: int) -> LabelForm:
    """The one column that is set, 0 to `classes` - 1, as in `a/b.jpg 1`."""
    return mapped(range(classes), f"the columns 0..{classes - 1}")


def mapped(numbers: Sequence[int], known: str) -> LabelForm:
    """One number that stands for a column, as in `a/b.jpg 339`.

    Args:
        numbers: of columns 0..L-1, in this order.
        known: what the numbers are, for messages.
    """
    rows = {str(number): "0" * at + "1" + "0" * (len(numbers) - at - 1) for at, number in enumerate(numbers)}

    def split(line: str) -> tuple[str, str]:
        path, *fields = line.rsplit(None, 1)
        if not fields:
            raise ValueError(f"{line!r} has no label; needs a path and one number")
        if path.rsplit(None, 1)[-1].isdigit():
            raise ValueError(f"{line!r} ends in several numbers; needs a path and one number")
        row = rows.get(fields[0])
        if row is None:
            raise ValueError(f"label {fields[0]!r} is not among {known}")
        return path, row

    return split


def column_or_one_hot(classes: int) -> LabelForm:
    """Either `column`, or `bits` of which exactly one is set."""
    by_column, by_bits = column(classes), bits(classes)

    def split(line: str) -> tuple[str, str]:
        if not _ends_in_bit(line.rsplit(None, 1)[0]):
            return by_column(line)
        path, row = by_bits(line)
        if row.count("1") != 1:
            raise ValueError(f"has {row.count('1')} of {classes} bits set; needs exactly one")
        return path, row

    return split


def _ends_in_bit(path: str) -> bool:
    """Whether the last field of the path is a bit, so that nobody knows where the labels start."""
    return path.endswith(("0", "1")) and path.rsplit(None, 1)[-1] in ("0", "1")


@dataclass(frozen=True)
class Listed:
    """The images of one split, in the order of the list."""

    paths: tuple[str, ...]  # N paths as listed, relative, with '/' between their parts
    labels: Tensor  # [N, L] bool, one column per class
    source: str  # name of the list, for messages
    files: tuple[str, ...]  # N paths below the data root where the images lie; `paths` unless a layout was found

    def __post_init__(self) -> None:
        """Refuse parts that do not fit."""
        if not len(self.paths) == len(self.labels) == len(self.files):
            raise ValueError(f"{len(self.paths)} paths, {len(self.labels)} label rows, {len(self.files)} files")

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.paths)


def read_list(path: Path, labels: LabelForm, *, strip_prefix: str | None = None) -> Listed:
    """Reads one split from a text file, plain or gzip.

    Empty lines, comments ('#'), CRLF, trailing blanks and a byte order mark are passed over.

    Args:
        path: the list.
        labels: how the end of a line is read: `bits`, `column`, `mapped` or `column_or_one_hot`.
        strip_prefix: folder that every path starts with and that is cut off, as authors list absolute paths.

    Returns:
        The images in the order of the file.

    Raises:
        InputError: unreadable, empty or too large; or a line, named by its number, is too long or no UTF-8, its
            labels are of another form, or its path is absolute, leaves the data root or lacks the prefix.
    """

    def parse(line: str) -> tuple[str, str]:
        listed, row = labels(line)
        return relative_path(listed, strip_prefix), row

    paths, rows = zip(*read_each(path, parse), strict=True)
    digits = np.frombuffer("".join(rows).encode(), dtype=np.uint8).reshape(len(rows), -1)  # [N, L]
    return Listed(paths, torch.from_numpy(digits == ord("1")), path.name, paths)


def read_each(path: Path, parse: Callable[[str], T]) -> list[T]:
    """What the lines of a file say, each by itself; lines are those of `read_lines`.

    Raises:
        InputError: as `read_lines`; or `parse` raises a ValueError, which is told with the number of the line.
    """
    found = []
    for number, line in read_lines(path):
        try:
            found.append(parse(line))
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}", getattr(error, "about", None)) from error
    return found


def read_lines(
    path: Path, is_comment: Callable[[str], bool] = lambda line: line.startswith("#")
) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and stripped lines that are neither empty nor comments; there is at least one.

    Args:
        path: of the file.
        is_comment: whether a stripped line is one.

    Raises:
        InputError: unreadable, empty or too large; or a line is too long or no UTF-8. Raised while iterating.
    """
    content = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{number}: a byte that is no UTF-8; give a plain text list") from error
    empty = True
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            raise InputError(f"{path}:{number}: has {len(line)} characters, no list has more than {MAX_LINE} in a line")
        stripped = line.strip()
        if stripped and not is_comment(stripped):
            empty = False
            yield number, stripped
    if empty:
        raise InputError(f"{path} lists nothing; get it again")


def _read(path: Path) -> bytes:
    """The content of a file, unpacked when its first bytes are gzip's, whatever its name."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = gzip.GzipFile(fileobj=file).read(MAX_BYTES + 1) if packed else file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}; get it again, or check its permissions") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES} bytes when unpacked; give the right list")
    return content


def is_plain(name: str) -> bool:
    """Whether a name is UTF-8 without control characters and line ends; blanks of any kind are fine."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)


@cache
def _normal_prefix(strip_prefix: str | None) -> str:
    """A folder in normal form, with its last '/'; empty for none."""
    prefix = _slashed(strip_prefix or "")
    return prefix + "/" if prefix and prefix != "/" else prefix


def relative_path(listed: str, strip_prefix: str | None = None, plain: Callable[[str], bool] = str.isprintable) -> str:
    """A listed path in normal form: relative, '/' between its parts, without empty parts and '.'.

    Args:
        listed: the path; a backslash counts as '/'.
        strip_prefix: folder that it starts with and that is cut off.
        plain: which characters a path may have.

    Raises:
        ValueError: it is absolute, holds '..', is not plain, lacks the prefix or names nothing.
    """
    prefix, path = _normal_prefix(strip_prefix), _slashed(listed)
    if not path.startswith(prefix):
        raise ValueError(f"path {listed!r} does not start with the prefix {prefix!r} that is to be stripped")
    path = path[len(prefix) :]
    if path.startswith("/") or _DRIVE.match(path):
        raise InputError(f"path {listed!r} is absolute; strip the prefix that ends at the data root", "strip_prefix")
    if not path or ".." in path.split("/") or not plain(path):
        raise ValueError(f"path {listed!r} names no file below the data root; correct it")
    return path


def _slashed(path: str) -> str:
    slashed = path.replace("\\", "/")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    return ("/" if slashed.startswith("/") else "") + "/".join(parts)


def find_lists(root: Path, name: str, advice: str, *, with_database: bool = False) -> dict[SplitName, Path]:
    """The lists in the first of `root/name` and `root` that holds them, by split, each as `.txt` or `.txt.gz`.

    All lists come from one folder; the protocol's own goes first, since the root may hold another one's.

    Args:
        root: the data root.
        name: the protocol's folder.
        advice: where to get the lists, for the message.
        with_database: whether the list of the database is needed as well.

    Raises:
        InputError: neither folder holds all the lists needed.
    """
    needed = SPLITS if with_database else SPLITS[:2]
    for folder in (root / name, root):
        found = {
            split: path for split in SPLITS for end in (".txt.gz", ".txt") if is_file(path := folder / (split + end))
        }
        if found.keys() >= set(needed):
            return found
    files = ", ".join(f"{split}.txt" for split in needed)
    raise InputError(f"no lists of {name} in {root}: put {files} (or .txt.gz) into {root / name}; {advice}")
