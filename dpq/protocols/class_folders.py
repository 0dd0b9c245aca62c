"""Reads the labels of images from where they lie: `<class>/<file>`, or `<split>/<class>/<file>`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dpq.errors import InputError
from dpq.protocols.archives import SUFFIXES
from dpq.protocols.entries import Entry, normal_name, some, stays_inside
from dpq.protocols.listing import SPLITS, SplitName
from dpq.protocols.lists import is_plain

LAYOUTS = "<class>/<file>, or {train,query,database}/<class>/<file>, or manifest.csv with the columns path,labels,split"


@dataclass(frozen=True)
class Found:
    """What lies in a folder.

    Attributes:
        entries: the images, sorted by path.
        passed_over: files that are no images by their ending, or lie where no image is looked for, sorted.
    """

    entries: list[Entry]
    passed_over: list[str]


def read_class_folders(root: Path) -> Found:
    """Walks through a folder; whatever is hidden is ignored, and nothing is opened.

    With folders `train`, `query` and `database`, all of them and no others, the splits are these; else every folder is
    a class, and the splits are to be drawn.

    Args:
        root: the folder, free of symbolic links.

    Raises:
        InputError: no such layout, a folder that cannot be read, a class without images, a link that leads out, or a
            name that is no UTF-8.
    """
    folders, files = _listed(root, "")
    found = Found([], files)
    if set(folders) == set(SPLITS):
        for split in SPLITS:
            classes, files = _listed(root, split)
            found.passed_over.extend(files)
            for name in classes:
                _read_class(root, f"{split}/{name}", (split,), found)
    else:
        for name in folders:
            _read_class(root, name, (), found)
    if not found.entries:
        raise InputError(f"{root} holds no class folders with images; lay it out as {LAYOUTS}")
    found.entries.sort(key=lambda entry: entry.path)
    found.passed_over.sort()
    return found


def _read_class(root: Path, folder: str, splits: tuple[SplitName, ...], found: Found) -> None:
    deeper, files = _listed(root, folder)
    if deeper:
        raise InputError(f"{folder}/{deeper[0]} in {root} is a folder inside a class; lay it out as {LAYOUTS}")
    label = normal_name(PurePosixPath(folder).name)
    images = [path for path in files if PurePosixPath(path).suffix.lower() in SUFFIXES]
    if not images:
        raise InputError(f"the class folder {folder!r} in {root} holds no images; fill it or take it away")
    outside = [path for path in images if not stays_inside(root, path)]
    if outside:
        raise InputError(f"{some(outside)} are links that lead out of {root}; refused: put the images there")
    found.entries.extend(Entry(path, (label,), splits) for path in images)
    found.passed_over.extend(path for path in files if path not in set(images))


def _listed(root: Path, below: str) -> tuple[list[str], list[str]]:
    """Names of the folders and paths of the other files directly in a folder, without hidden ones, sorted."""
    if not stays_inside(root, below):
        raise InputError(f"{below!r} is a link that leads out of {root}; refused: put the images there")
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(root / below) as listing:
            for item in listing:
                if item.name.startswith("."):
                    continue
                if not is_plain(item.name):
                    raise InputError(f"{item.name!r} in {root / below} is no name in UTF-8; rename it")
                path = f"{below}/{item.name}" if below else item.name
                if item.is_dir():
                    folders.append(item.name)
                else:
                    files.append(path)
    except OSError as error:
        raise InputError(f"cannot read the folder {root / below} ({error.strerror}); check its permissions") from error
    return sorted(folders), sorted(files)
