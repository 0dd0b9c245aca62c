"""One's own images: a folder with class folders, with splits of class folders, or with a manifest."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dpq.errors import InputError
from dpq.protocols.base import SPLITS, Dataset, ReadOptions, Split, SplitName
from dpq.protocols.folder.class_folders import LAYOUTS, Entry, read_class_folders
from dpq.protocols.folder.division import divide
from dpq.protocols.folder.manifest import MANIFEST, read_manifest
from dpq.protocols.image_files import checked_folder, some
from dpq.protocols.listed.listing import listed_fingerprint
from dpq.protocols.store.write import store_images

_logger = logging.getLogger(__name__)
_NO_NAME = re.compile(r"[^\w.-]+")


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


def load_folder(data_root: Path | None, cache: Path, options: ReadOptions, split_seed: int = 0) -> Dataset:
    """The splits of a folder of one's own images, decoded once and read from the cache.

    Args:
        data_root: the folder.
        cache: folder for decoded pixels: 3 * side**2 bytes per image.
        options: how it is read; `allow_missing` counts missing and unreadable images.
        split_seed: of the draw; 0 where the folder says its splits.

    Returns:
        The data set. mAP is taken over the whole database; images are relevant to each other that share a label.

    Raises:
        InputError: the folder cannot be read, or its images cannot be used or divided.
    """
    images = find_images(data_root, options)
    if split_seed != 0 and images.layout != "classes":
        raise InputError(f"{images.root} says its splits, so nothing is drawn; its split seed is 0, got {split_seed}")
    if images.passed_over:
        _logger.warning("no images and passed over: %s", some([repr(name) for name in images.passed_over]))
    learned = sum("train" in entry.splits or not entry.splits for entry in images.entries)
    options.check(learned, len(images.classes))
    store = store_images(images.root, images.files, cache, options)
    division = divide(images.entries, store.inspection.digests, split_seed)
    for title, found in division.problems.items():
        raise InputError(
            f"{images.root} has {title}: {some([repr(what) for what in found])}; mend it", "data", "folder"
        )
    if division.left_out:
        _logger.warning(
            "left out as copies of others: %s", some([repr(images.files[row]) for row in division.left_out])
        )
    splits = {name: Split(store.rows(rows), images.labels[rows]) for name, rows in division.rows.items()}
    facts = {
        "layout": images.layout,
        "classes": list(images.classes),
        "copies_left_out": len(division.left_out),
        "queries_in_database": sum({"query", "database"} <= set(entry.splits) for entry in images.entries),
        "missing": {"images": len(store.inspection.problems)},
        "side": options.side,
    }
    return Dataset(
        "folder",
        _NO_NAME.sub("-", images.root.name).strip("-") or "folder",
        images.classes,
        splits["train"],
        splits["query"],
        splits["database"],
        images.fingerprint(division.rows, store.inspection.digests),
        facts=facts,
    )
