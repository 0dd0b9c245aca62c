"""One's own images as a data set: found, decoded, divided into splits."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from dpq.errors import InputError
from dpq.protocols.base import Dataset, ReadOptions, Split
from dpq.protocols.folder.division import divide
from dpq.protocols.folder.layout import find_images
from dpq.protocols.image_files import some
from dpq.protocols.store.write import store_images

_logger = logging.getLogger(__name__)
_NO_NAME = re.compile(r"[^\w.-]+")


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
    images.tell()
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
    splits = {
        name: Split(store.rows(rows), images.labels[rows], tuple(images.files[row] for row in rows.tolist()))
        for name, rows in division.rows.items()
    }
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
