"""Classes of ImageNet's list files: label numbers, WordNet ids and columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpq.errors import InputError
from dpq.protocols.lists import Listed, read_lines

ILSVRC_CLASSES = 1000
_WNID = re.compile("n[0-9]{8}")
_CLASS_IDS = frozenset(str(i) for i in range(ILSVRC_CLASSES))


def wnid_of(path: str) -> str | None:
    """The WordNet id that the name of a training image starts with, as in `n02389026_5113.JPEG`."""
    name = path.rpartition("/")[2]
    match = _WNID.match(name)
    return match[0] if match and name[9:10] == "_" else None


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
            wnid = wnid_of(path)
            if wnid is None:
                raise InputError(f"{split.source}: {path!r} is no training image <wnid>_<number>.JPEG; correct it")
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
    for number, line in read_lines(path):
        fields = line.split()
        fits = len(fields) == 3 and fields[0] == str(len(wnids)) and _WNID.fullmatch(fields[1])
        if not fits or fields[2] not in _CLASS_IDS:
            raise InputError(
                f"{path}:{number}: {line!r} is not '{len(wnids)} <wnid> <class id 0..{ILSVRC_CLASSES - 1}>'; correct it"
            )
        if int(fields[2]) in wnids or fields[1] in wnids.values():
            raise InputError(f"{path}:{number}: {line!r} repeats a class; correct it")
        wnids[int(fields[2])] = fields[1]
    return wnids
