"""Which files of a folder are images: the one rule of all that read folders and archives.

A file is an image by its suffix; whether it can be read is found when it is decoded. What is hidden is not there.
Links count as what they lead to, wherever that is. Everything else is passed over, and told to whoever asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dpq.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
NAMED = 3  # faults in a message


class Folder(NamedTuple):
    """What lies directly in a folder: names, each list sorted."""

    folders: list[str]  # in it
    images: list[str]  # files that are images by their suffix
    others: list[str]  # files that are not


def some(named: Sequence[str]) -> str:
    """The first few of what a message names, and how many more there are."""
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return ", ".join(named[:NAMED]) + more


def checked_folder(root: Path) -> Path:
    """The folder without symbolic links.

    Raises:
        InputError: there is none.
    """
    if not os.path.isdir(root):
        raise InputError(f"no image folder {root}; correct the path")
    return Path(os.path.realpath(root))


def stays_inside(root: Path, name: str) -> bool:
    """Whether a path below `root` (free of links itself) still lies there when its links are followed."""
    return Path(os.path.realpath(root / name)).is_relative_to(root)


def is_image(name: str) -> bool:
    """Whether a relative path with '/' between its parts is an image's, and nothing on it is hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def read_folder(path: Path) -> Folder:
    """What lies directly in a folder; no file is opened.

    Raises:
        OSError: it cannot be read.
    """
    found = Folder([], [], [])
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.name.startswith("."):
                kind = found.folders if entry.is_dir() else found.images if is_image(entry.name) else found.others
                kind.append(entry.name)
    return found


def walk_images(root: Path) -> list[str]:
    """The images of a folder and of all folders in it: relative paths with '/', sorted part by part.

    Raises:
        OSError: a folder cannot be read, or is a link to one that it lies in.
    """
    return sorted(_below(root, "", ()), key=lambda name: name.split("/"))


def _below(root: Path, below: str, above: tuple[str, ...]) -> Iterator[str]:
    place = os.path.realpath(root / below)
    if place in above:
        raise OSError(f"{below!r} is a link to a folder that it lies in")
    found = read_folder(root / below)
    yield from (below + name for name in found.images)
    for name in found.folders:
        yield from _below(root, f"{below}{name}/", (*above, place))
