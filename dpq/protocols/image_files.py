"""Which files of a folder are images: the one rule of all that read folders and archives.

A file is an image by its suffix; whether it can be read is found when it is decoded. What is hidden is not there.
Links count as what they lead to, wherever that is; one that leads nowhere is a missing image if it is named like one,
and else refused, as nobody knows what it stood for. Everything else is passed over, and told.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dpq.errors import InputError, one_line
from dpq.files.places import is_folder, real

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"})
NAMED = 3  # faults in a message
_logger = logging.getLogger(__name__)


class Folder(NamedTuple):
    """What lies directly in a folder: names, each list sorted."""

    folders: list[str]  # in it
    images: list[str]  # files that are images by their suffix
    others: list[str]  # files that are not


@dataclass(frozen=True)
class Tree:
    """What lies in a folder and all folders in it: relative paths with '/', each list sorted part by part."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no images
    barren: list[str] = field(default_factory=list)  # the topmost folders in which no image lies, at any depth

    def tell(self) -> None:
        """Warn of what is passed over."""
        tell_others(self.others)
        if self.barren:
            named = some([repr(name) for name in self.barren])
            _logger.warning("folders without images, passed over (%d): %s", len(self.barren), named)


def tell_others(names: Sequence[str]) -> None:
    """Warn of files that are passed over."""
    if names:
        _logger.warning("no images and passed over: %s", some([repr(name) for name in names]))


def some(named: Sequence[str]) -> str:
    """The first few of what a message names, and how many more there are."""
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return ", ".join(named[:NAMED]) + more


def checked_folder(root: Path) -> Path:
    """The folder without symbolic links.

    Raises:
        InputError: there is none, or it cannot be looked at.
    """
    if not is_folder(root):
        raise InputError(f"no image folder {root}; correct the path")
    return real(root)


def is_image(name: str) -> bool:
    """Whether a relative path with '/' between its parts is an image's, and nothing on it is hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def read_folder(path: Path) -> Folder:
    """What lies directly in a folder; no file is opened.

    Raises:
        InputError: it cannot be read, or holds a link that leads nowhere or to itself and is not named like an image.
    """
    found = Folder([], [], [])
    try:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith("."):
                    image = is_image(entry.name)
                    kind = found.folders if _is_folder(entry, image) else found.images if image else found.others
                    kind.append(entry.name)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise InputError(f"cannot read the folder {path}: {reason}; mend that, or take it away") from error
    return found


def _is_folder(entry: os.DirEntry[str], image: bool) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        return stat.S_ISDIR(entry.stat().st_mode)
    except OSError as error:
        if image:  # to be found missing when it is looked for
            return False
        nowhere = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "leads nowhere" if nowhere else f"cannot be followed ({error.strerror})"
        raise InputError(f"the link {entry.path} {reason}; mend it or take it away") from error


def walk_images(root: Path) -> Tree:
    """The images of a folder and of all folders in it, and what else lies there.

    Raises:
        InputError: a folder or link cannot be read or followed, or is a link to a folder that it lies in.
    """
    tree = Tree()
    _walk(root, "", (), tree)
    for names in (tree.images, tree.others, tree.barren):
        names.sort(key=lambda name: name.split("/"))
    return tree


def _walk(root: Path, below: str, above: tuple[str, ...], tree: Tree) -> None:
    place = os.path.realpath(root / below)
    if place in above:
        raise InputError(f"cannot read the folder {root}: {below!r} is a link to a folder that it lies in; mend that")
    found = read_folder(root / below)
    tree.others.extend(below + name for name in found.others)
    before, barren = len(tree.images), len(tree.barren)
    tree.images.extend(below + name for name in found.images)
    for name in found.folders:
        _walk(root, f"{below}{name}/", (*above, place), tree)
    if below and len(tree.images) == before:  # and so in each folder inside
        tree.barren[barren:] = [below.removesuffix("/")]
