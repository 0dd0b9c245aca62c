"""Where ImageNet's images lie, and of which classes they are: archives and competitions unpack to different folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from os.path import isfile
from pathlib import Path

import torch

from dpq.errors import InputError, one_line
from dpq.protocols.image_files import read_folder, tell_others
from dpq.protocols.listed.lists import Listed, read_each

ILSVRC_CLASSES = 1000
_WNID = re.compile("n[0-9]{8}")
_NAMED = re.compile("(n[0-9]{8})_")  # a training image by its class, as in `n02389026_5113.JPEG`
_CLASS_IDS = frozenset(str(i) for i in range(ILSVRC_CLASSES))


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
LAYOUTS = {"train": TRAINING, "query": VALIDATION, "database": TRAINING}
_PROBES = 100


def wnids_by_column(*lists: Listed) -> dict[int, str]:
    """WordNet id of each label column that occurs, in order of first appearance; the names of the images tell it.

    Args:
        lists: training images with one label each.

    Raises:
        InputError: a path is not that of a training image, or columns and ids are not one to one.
    """
    wnids: dict[int, str] = {}
    columns: dict[str, int] = {}
    for split in lists:
        for path, at in zip(split.paths, columns_of(split), strict=True):
            named = _NAMED.match(path.rpartition("/")[2])
            if named is None:
                raise InputError(f"{split.source}: {path!r} is no training image <wnid>_<number>.JPEG; correct it")
            wnid = named[1]
            if wnids.setdefault(at, wnid) != wnid or columns.setdefault(wnid, at) != at:
                raise InputError(
                    f"{split.source}: {path!r} has label {at}, unlike other images of its class or like those of "
                    "another; correct the list"
                )
    return wnids


def check_wnids(split: Listed, wnids: Sequence[str]) -> None:
    """Checks training images against the WordNet ids of the label columns.

    Raises:
        InputError: the name of an image tells another class than its label.
    """
    for at, wnid in wnids_by_column(split).items():
        if wnids[at] != wnid:
            raise InputError(f"{split.source}: images of {wnid} have the label of {wnids[at]}; correct the list")


def columns_of(split: Listed) -> list[int]:
    """The label column of every image; each has one."""
    columns: list[int] = split.labels.int().argmax(dim=1).tolist()
    return columns


def read_classes(path: Path) -> Mapping[int, str]:
    """WordNet ids by ILSVRC class id, in the order of the columns, from lines `<column> <wnid> <class id>`.

    Raises:
        InputError: unreadable, or a line, named by its number, is of another form, out of order or a repetition.
    """
    wnids: dict[int, str] = {}

    def add(line: str) -> None:
        fields = line.split()
        fits = len(fields) == 3 and fields[0] == str(len(wnids)) and _WNID.fullmatch(fields[1])
        if not fits or fields[2] not in _CLASS_IDS:
            raise ValueError(f"{line!r} is not '{len(wnids)} <wnid> <class id 0..{ILSVRC_CLASSES - 1}>'; correct it")
        if int(fields[2]) in wnids or fields[1] in wnids.values():
            raise ValueError(f"{line!r} repeats a class; correct it")
        wnids[int(fields[2])] = fields[1]

    read_each(path, add)
    return wnids


def find_layout(root: Path, split: Listed, layouts: Sequence[str], wnids: Sequence[str]) -> str:
    """The layout under which most of the split's first images exist, or the first where none does.

    Not every image is looked for: that takes minutes on a network disk.

    Args:
        root: the data root.
        split: one label per image.
        layouts: patterns of a path, of the listed `path`, its `file` name, and the `wnid` of the label.
        wnids: WordNet ids of the label columns.
    """
    probes = islice(zip(split.paths, columns_of(split), strict=True), _PROBES)
    probed = [(path, wnids[at]) for path, at in probes]
    return max(layouts, key=lambda layout: sum(isfile(root / _place(layout, *probe)) for probe in probed))


def located(root: Path, split: Listed, layouts: Sequence[str], wnids: Sequence[str]) -> Listed:
    """The split with `files` set to where its images lie under the layout that `find_layout` finds."""
    layout = find_layout(root, split, layouts, wnids)
    files = (_place(layout, path, wnids[at]) for path, at in zip(split.paths, columns_of(split), strict=True))
    return replace(split, files=tuple(files))


def _place(layout: str, path: str, wnid: str) -> str:
    return layout.format(path=path, wnid=wnid, file=path.rpartition("/")[2])


def list_training_folders(root: Path, train: Listed, wnids: Sequence[str]) -> Listed:
    """Every image of the classes' training folders, sorted by `<wnid>/<file>`.

    Args:
        root: the data root.
        train: the training images, whose layout tells where the folders are.
        wnids: WordNet ids of the label columns.

    Raises:
        InputError: the folder of a class is missing or holds no image.
    """
    layout = find_layout(root, train, TRAINING, wnids)
    found: list[tuple[str, int, str]] = []
    others: list[str] = []
    for at, wnid in enumerate(wnids):
        folder = _place(layout, f"{wnid}/", wnid)
        try:
            _, names, passed_over = read_folder(root / folder)
        except InputError as error:
            raise InputError(
                f"cannot list {root / folder} ({one_line(error.__cause__ or error)}): the database is the whole "
                f"training folders of {len(wnids)} ImageNet classes; put them there (image-net.org), or give "
                "database.txt"
            ) from error
        if not names:
            raise InputError(f"{root / folder} holds no image; complete ImageNet's training folders (image-net.org)")
        others += [f"{folder}{name}" for name in passed_over]
        found += [(f"{wnid}/{name}", at, f"{folder}{name}") for name in names]
    tell_others(others)
    found.sort()
    paths, columns, files = zip(*found, strict=True)
    labels = torch.nn.functional.one_hot(torch.tensor(columns), len(wnids)).bool()
    return Listed(tuple(paths), labels, "training folders", tuple(files))
