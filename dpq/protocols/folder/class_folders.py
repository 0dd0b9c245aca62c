"""What a folder of one's own images says of each by where it lies: `<class>/<file>`, or `<split>/<class>/<file>`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dpq.errors import InputError
from dpq.protocols.base import SPLITS, SplitName
from dpq.protocols.image_files import SUFFIXES, Folder, read_folder, some
from dpq.protocols.listed.lists import is_plain

LAYOUTS = "<class>/<file>, or {train,query,database}/<class>/<file>, or manifest.csv with the columns path,labels,split"


@dataclass(frozen=True)
class Entry:
    """One image."""

    path: str  # relative to the folder, with '/' between its parts
    labels: tuple[str, ...]  # names of its classes, one or more
    splits: tuple[SplitName, ...] = ()  # those that it is said to be in; none where they are to be drawn


def normal_name(name: str) -> str:
    """The name of a class as records have it, however the file system or the writer composes its accents.

    Raises:
        ValueError: it holds a control character or is no UTF-8.
    """
    if not is_plain(name):
        raise ValueError(f"the name {name!r} holds a control character or is no UTF-8; rename it")
    return unicodedata.normalize("NFC", name)


def read_class_folders(root: Path) -> tuple[list[Entry], list[str]]:
    """Walks through a folder; whatever is hidden is ignored, and nothing is opened.

    With folders `train`, `query` and `database`, all of them and no others, the splits are these; else every folder is
    a class, and the splits are to be drawn.

    Args:
        root: the folder, free of symbolic links.

    Returns:
        The images, and the files that are none by their ending or lie where no image is looked for; sorted by path.

    Raises:
        InputError: no such layout, a folder that cannot be read, a class without images, a link that leads nowhere, or
            a name that is no UTF-8.
    """
    top = _read(root, "")
    passed_over = [*top.images, *top.others]
    classes: list[tuple[str, tuple[SplitName, ...]]] = [(name, ()) for name in top.folders]
    if set(top.folders) == set(SPLITS):
        classes = []
        for split in SPLITS:
            inside = _read(root, split)
            passed_over += [f"{split}/{name}" for name in (*inside.images, *inside.others)]
            classes += [(f"{split}/{name}", (split,)) for name in inside.folders]
    entries: list[Entry] = []
    barren: list[str] = []
    for folder, splits in classes:
        inside = _read_class(root, folder)
        label = normal_name(PurePosixPath(folder).name)
        entries += [Entry(f"{folder}/{name}", (label,), splits) for name in inside.images]
        passed_over += [f"{folder}/{name}" for name in inside.others]
        if not inside.images:
            barren.append(repr(folder))
    if barren:
        what, hold = ("folder", "holds") if len(barren) == 1 else ("folders", "hold")
        raise InputError(
            f"the class {what} {some(barren)} in {root} {hold} no images, files that end in "
            f"{', '.join(sorted(SUFFIXES))}; put some there, or take the {what} away"
        )
    if not entries:
        loose = f"; {root / top.images[0]} is in no class folder" if top.images else ""
        raise InputError(f"{root} holds no class folders with images; lay it out as {LAYOUTS}{loose}")
    return sorted(entries, key=lambda entry: entry.path), sorted(passed_over)


def _read_class(root: Path, folder: str) -> Folder:
    """What lies in a class folder: files, and no folder."""
    inside = _read(root, folder)
    if inside.folders:
        raise InputError(f"{folder}/{inside.folders[0]} in {root} is a folder inside a class; lay it out as {LAYOUTS}")
    return inside


def _read(root: Path, below: str) -> Folder:
    """What lies directly in a folder; no name is a riddle."""
    found = read_folder(root / below)
    for name in (*found.folders, *found.images, *found.others):
        if not is_plain(name):
            raise InputError(f"{name!r} in {root / below} is no name in UTF-8; rename it")
    return found
