"""Where ImageNet's images lie: the official archives and competitions unpack to different folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from os.path import isfile
from pathlib import Path

import torch

from dpq.errors import InputError, one_line
from dpq.protocols.image_files import read_folder
from dpq.protocols.imagenet_classes import columns_of
from dpq.protocols.lists import Listed

TRAINING = (
    "train/{wnid}/{file}",  # first: where the guide tells to put them, so that a message names it
    "{path}",
    "{wnid}/{file}",
    "ILSVRC2012_img_train/{wnid}/{file}",
    "ILSVRC/Data/CLS-LOC/train/{wnid}/{file}",
)
VALIDATION = (
    "val/{file}",
    "{path}",
    "{file}",
    "val/{wnid}/{file}",
    "ILSVRC2012_img_val/{file}",
    "ILSVRC/Data/CLS-LOC/val/{file}",
)
_PROBES = 100


def find_layout(root: Path, split: Listed, layouts: Sequence[str], wnids: Sequence[str]) -> str:
    """The layout under which most of the split's first images exist, or the first where none does.

    Not every image is looked for: that takes minutes on a network disk.

    Args:
        root: the data root.
        split: one label an image.
        layouts: patterns of a path, of the listed `path`, its `file` name, and the `wnid` of the label.
        wnids: WordNet ids of the label columns.
    """
    probes = islice(zip(split.paths, columns_of(split), strict=True), _PROBES)
    probed = [(path, wnids[at]) for path, at in probes]
    return max(layouts, key=lambda layout: sum(isfile(root / _place(layout, *probe)) for probe in probed))


def located(split: Listed, layout: str, wnids: Sequence[str]) -> Listed:
    """The split with `files` set to where its images lie under a layout."""
    files = (_place(layout, path, wnids[at]) for path, at in zip(split.paths, columns_of(split), strict=True))
    return replace(split, files=tuple(files))


def _place(layout: str, path: str, wnid: str) -> str:
    return layout.format(path=path, wnid=wnid, file=path.rpartition("/")[2])


def list_training_folders(root: Path, layout: str, wnids: Sequence[str]) -> Listed:
    """Every image of the classes' training folders, sorted by `<wnid>/<file>`.

    Args:
        root: the data root.
        layout: of the training images.
        wnids: WordNet ids of the label columns.

    Raises:
        InputError: the folder of a class is missing or holds no image.
    """
    found: list[tuple[str, int, str]] = []
    for at, wnid in enumerate(wnids):
        folder = _place(layout, f"{wnid}/", wnid)
        try:
            names = read_folder(root / folder).images
        except OSError as error:
            raise InputError(
                f"cannot list {root / folder} ({one_line(error)}): the database is the whole training folders of "
                f"{len(wnids)} ImageNet classes; put them there (image-net.org), or give database.txt"
            ) from error
        if not names:
            raise InputError(f"{root / folder} holds no image; complete ImageNet's training folders (image-net.org)")
        found += [(f"{wnid}/{name}", at, f"{folder}{name}") for name in names]
    found.sort()
    paths, columns, files = zip(*found, strict=True)
    labels = torch.nn.functional.one_hot(torch.tensor(columns), len(wnids)).bool()
    return Listed(tuple(paths), labels, "training folders", tuple(files))
