"""Reads list files: one image a line, its path and then its labels."""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpq.errors import InputError, one_line
from dpq.protocols.label_forms import LabelForm

MAX_BYTES = 1 << 27  # unpacked; the longest published list, 128,503 images with 100 columns, has 32 MB
MAX_LINE = 4096
_DRIVE = re.compile("[A-Za-z]:")


@dataclass(frozen=True)
class Listed:
    """The images of one split, in the order of the list.

    Attributes:
        paths: N paths as listed, relative, with '/' between their parts.
        labels: [N, L] bool, one column a class.
        source: name of the list, for messages.
        files: N paths below the data root where the images lie; `paths` unless a layout was found.
    """

    paths: tuple[str, ...]
    labels: Tensor
    source: str
    files: tuple[str, ...]

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
        labels: how the end of a line is read (`dpq.protocols.label_forms`).
        strip_prefix: folder that every path starts with and that is cut off, as authors list absolute paths.

    Returns:
        The images in the order of the file.

    Raises:
        InputError: unreadable, empty or too large; or a line, named by its number, is too long or no UTF-8, its
            labels are of another form, or its path is absolute, leaves the data root or lacks the prefix.
    """
    prefix = normal_prefix(strip_prefix)
    paths, rows = [], []
    for number, line in read_lines(path):
        try:
            listed, row = labels(line)
            paths.append(relative_path(listed, prefix))
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}", getattr(error, "about", None)) from error
        rows.append(row)
    digits = np.frombuffer("".join(rows).encode(), dtype=np.uint8).reshape(len(rows), -1)  # [N, L]
    names = tuple(paths)
    return Listed(names, torch.from_numpy(digits == ord("1")), path.name, names)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and stripped lines that are neither empty nor comments; there is at least one.

    Raises:
        InputError: as `read_list`; raised while iterating.
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
        if stripped and not stripped.startswith("#"):
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


def normal_prefix(strip_prefix: str | None) -> str:
    """What `relative_path` cuts off: a folder in normal form, with its last '/'; empty for none."""
    prefix = _slashed(strip_prefix or "")
    return prefix + "/" if prefix and prefix != "/" else prefix


def relative_path(listed: str, prefix: str = "", plain: Callable[[str], bool] = str.isprintable) -> str:
    """A listed path in normal form: relative, '/' between its parts, without empty parts and '.'.

    Args:
        listed: the path; a backslash counts as '/'.
        prefix: normal form of what is cut off, with its last '/'.
        plain: which characters a path may have.

    Raises:
        ValueError: it is absolute, holds '..', is not plain, lacks the prefix or names nothing.
    """
    path = _slashed(listed)
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
