"""What a folder of somebody's own images says of each of them, before one is opened."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from dpq.errors import InputError
from dpq.protocols.listing import SplitName
from dpq.protocols.lists import is_plain

NAMED = 3  # faults in a message


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        path: relative to the folder, with '/' between its parts.
        labels: names of its classes, one or more.
        splits: those that it is said to be in; none where they are to be drawn.
    """

    path: str
    labels: tuple[str, ...]
    splits: tuple[SplitName, ...] = ()


def normal_name(name: str) -> str:
    """The name of a class as records have it, however the file system or the writer composes its accents.

    Raises:
        ValueError: it holds a control character or is no UTF-8.
    """
    if not is_plain(name):
        raise ValueError(f"the name {name!r} holds a control character or is no UTF-8; rename it")
    return unicodedata.normalize("NFC", name)


def stays_inside(root: Path, name: str) -> bool:
    """Whether a path below `root` (free of links itself) still lies there when its links are followed."""
    return Path(os.path.realpath(root / name)).is_relative_to(root)


def some(names: list[str] | tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more


def checked_folder(root: Path) -> Path:
    """The folder without symbolic links.

    Raises:
        InputError: there is none.
    """
    if not os.path.isdir(root):
        raise InputError(f"no image folder {root}; correct the path")
    return Path(os.path.realpath(root))
