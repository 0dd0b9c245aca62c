"""How a folder of one's own images is laid out, and what lies in it: class folders, splits of them, or a manifest."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dpq.errors import InputError
from dpq.protocols.base import SPLITS, ReadOptions, SplitName
from dpq.protocols.folder.class_folders import LAYOUTS, Entry, read_class_folders
from dpq.protocols.folder.manifest import MANIFEST, read_manifest
from dpq.protocols.image_files import checked_folder, some, tell_others
from dpq.protocols.listed.listing import listed_fingerprint

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnImages:
    """The images of a folder; none has been opened."""

    root: Path  # the folder, free of symbolic links
    # whether labels and splits are those of class folders (splits are drawn), of folders of class folders, or of a
    # manifest
    layout: Literal["classes", "splits", "manifest"]
    classes: tuple[str, ...]  # names, sorted; the order of the label columns
    entries: tuple[Entry, ...]  # N images, sorted by path
    labels: Tensor  # [N, L] bool
    passed_over: tuple[str, ...] = ()  # files that are no images

    @property
    def multi_label(self) -> bool:
        """Whether an image has several labels."""
        return any(len(entry.labels) > 1 for entry in self.entries)

    def tell(self) -> None:
        """Warn of the files that are passed over."""
        tell_others(self.passed_over)

    @property
    def files(self) -> tuple[str, ...]:
        """The N paths."""
        return tuple(entry.path for entry in self.entries)

    def fingerprint(self, rows: Mapping[SplitName, Tensor], digests: tuple[str | None, ...]) -> str:
        """SHA-256 over class names, labels and contents of all splits; what files are called decides nothing."""
        labels = {name: self.labels[rows[name]] for name in SPLITS}
        listed = listed_fingerprint(rows, labels, digests)
        return hashlib.sha256(repr((self.classes, listed)).encode()).hexdigest()


def find_images(data_root: Path | None, options: ReadOptions) -> OwnImages:
    """Find out how a folder is laid out, and what lies in it.

    Raises:
        InputError: no folder, or none of the layouts.
    """
    if data_root is None:
        raise InputError(
            f"folder needs your images; give their folder as data root, laid out as {LAYOUTS}", "images", "folder"
        )
    root = checked_folder(data_root)
    if os.path.lexists(root / MANIFEST):
        passed_over: list[str] = []
        entries = read_manifest(root, options.strip_prefix)
        layout: Literal["classes", "splits", "manifest"] = "manifest"
    else:
        entries, passed_over = read_class_folders(root)
        layout = "splits" if entries[0].splits else "classes"
    classes = sorted({label for entry in entries for label in entry.labels})
    column = {name: place for place, name in enumerate(classes)}
    labels = torch.zeros(len(entries), len(classes), dtype=torch.bool)
    for row, entry in enumerate(entries):
        labels[row, [column[label] for label in entry.labels]] = True
    return OwnImages(root, layout, tuple(classes), tuple(entries), labels, tuple(passed_over))


def find_training_images(folder: Path) -> OwnImages:
    """The images of a folder that methods learn from: those of its split `train`, or all where it says no splits.

    Returns:
        The images, sorted by path, part by part.

    Raises:
        InputError: as for `find_images`; or a label that no training image has.
    """
    images = find_images(folder, ReadOptions())
    images.tell()
    rows = sorted(range(len(images.files)), key=lambda row: images.files[row].split("/"))
    if images.layout != "classes":
        rows = [row for row in rows if "train" in images.entries[row].splits]
        _logger.info("%s says its splits: training on the %d images of train alone", folder, len(rows))
    found = replace(images, entries=tuple(images.entries[row] for row in rows), labels=images.labels[rows])
    if lacking := [
        repr(name) for name, some_of in zip(found.classes, found.labels.any(dim=0), strict=True) if not some_of
    ]:
        raise InputError(f"{folder} has labels of no training image: {some(lacking)}; mend it", "data", "folder")
    return found
