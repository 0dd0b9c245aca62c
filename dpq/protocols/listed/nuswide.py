"""NUS-WIDE with its 21 most frequent concepts: which images belong to DPQ's splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir, isfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dpq.errors import InputError
from dpq.protocols.listed.listing import Listing, Published
from dpq.protocols.listed.lists import Listed, bits, find_lists, read_lines, read_list, relative_path

_LABELS = "Groundtruth/AllLabels"
_IMAGES = "ImageList/Imagelist.txt"
AGREEMENT = 0.99


# The published lists do not name their columns; this order fits their counts and co-occurrences.
CONCEPTS = (
    *("sky", "clouds", "person", "water", "animal", "grass", "buildings", "window", "plants", "lake", "ocean"),
    *("road", "flowers", "sunset", "reflection", "rocks", "vehicle", "snow", "tree", "beach", "mountain"),
)
PUBLISHED = Published(
    sizes={"train": 10_000, "query": 5_000, "database": 190_834},
    labels_per_image={"train": 2.11, "query": 2.15},
    per_class={},
    digests={
        "train": "b2fc7f4ca130305eb8d0d3c2af12b29e21ad2247643119da4c9cecc254725148",
        "query": "96a45df8d5d158e5e2ff912b2e8ecf62a11c80265f3ed912a2c0401c3d865441",
    },
)
_NAME = "nuswide21"
_LISTS = "they are data/nus21 of the repository cfm-uestc/DPQ"
_TRUTH = 'Groundtruth/ and ImageList/ of the page "NUS-WIDE, Lab for Media Search, National University of Singapore"'


@dataclass(frozen=True)
class GroundTruth:
    """All images of NUS-WIDE, in the official order."""

    paths: tuple[str, ...]  # N paths `Flickr/<folder>/<file>`
    labels: npt.NDArray[np.bool_]  # [N, L] bool, one column for each of `concepts`
    concepts: tuple[str, ...]  # names of the concepts that were read

    def ordered_as(self, *lists: Listed) -> GroundTruth:
        """The same with its columns in the order of the lists' columns, whose names nobody published.

        Columns and concepts are assigned one to one so that the labels of the listed images agree most; among
        equally good assignments the one nearest the present order is taken.

        Raises:
            InputError: the lists are of other images, or a column agrees with no concept that is left for it.
        """
        from scipy.optimize import linear_sum_assignment

        row_of = {path: row for row, path in enumerate(self.paths)}
        listed = np.concatenate([split.labels.numpy() for split in lists])  # [n, L]
        rows = np.array([row_of.get(path, -1) for split in lists for path in split.paths])
        known = rows >= 0
        names = " and ".join(split.source for split in lists)
        if known.mean() < AGREEMENT:
            raise InputError(
                f"{known.sum()} of the {len(known)} images of {names} are in {_IMAGES}; "
                "list them as Flickr/<folder>/<file>, without another prefix"
            )
        ours, theirs = listed[known].astype(np.int64), self.labels[rows[known]].astype(np.int64)
        equal = ours.T @ theirs + (1 - ours).T @ (1 - theirs)  # [L, L] images on which column and concept agree
        count = len(self.concepts)
        _, order = linear_sum_assignment(equal * (count + 1) + np.eye(count, dtype=np.int64), maximize=True)
        agreement = equal[np.arange(count), order] / known.sum()
        worst = int(agreement.argmin())
        if agreement[worst] < AGREEMENT:
            raise InputError(
                f"label column {worst} of {names} fits no concept: with the best left, "
                f"{self.concepts[order[worst]]!r}, it agrees on {agreement[worst]:.3f} of the images; {AGREEMENT} is "
                "needed: give the lists of nuswide21"
            )
        return GroundTruth(self.paths, self.labels[:, order], tuple(self.concepts[i] for i in order))

    def labelled(self, without: Sequence[str]) -> Listed:
        """Every image with at least one of the concepts, except those `without`, in the official order."""
        left_out = set(without)
        rows = [row for row in np.flatnonzero(self.labels.any(axis=1)) if self.paths[row] not in left_out]
        if not rows:
            raise InputError(f"{_LABELS} leaves no image for the database; get NUS-WIDE's ground truth again")
        paths = tuple(self.paths[row] for row in rows)
        return Listed(paths, torch.from_numpy(self.labels[rows]), _LABELS, paths)


def find_ground_truth(folders: Sequence[Path], concepts: tuple[str, ...]) -> GroundTruth | None:
    """Reads the ground truth of the first folder that has it, or None.

    Args:
        folders: where `Groundtruth/` and `ImageList/` may be.
        concepts: names as in `Groundtruth/AllLabels/Labels_<concept>.txt`.

    Raises:
        InputError: a file is missing or damaged, or has another number of lines than the list of images.
    """
    for folder in folders:
        if isdir(folder / _LABELS):
            return _read(folder, concepts)
    return None


def _read(folder: Path, concepts: tuple[str, ...]) -> GroundTruth:
    files = [folder / _IMAGES, *(folder / _LABELS / f"Labels_{concept}.txt" for concept in concepts)]
    for file in files:
        if not isfile(file):
            raise InputError(f"{file} is missing; unpack NUS-WIDE's ImageList and Groundtruth into {folder}")
    paths = _read_paths(files[0])
    labels = np.empty((len(paths), len(concepts)), dtype=np.bool_)
    for i, file in enumerate(files[1:]):
        bits = _read_bits(file)
        if len(bits) != len(paths):
            raise InputError(f"{file} has {len(bits)} labels for the {len(paths)} images of {files[0]}; get both again")
        labels[:, i] = bits
    return GroundTruth(paths, labels, concepts)


def _read_paths(file: Path) -> tuple[str, ...]:
    paths = []
    for number, line in read_lines(file):
        try:
            paths.append(f"Flickr/{relative_path(line)}")
        except ValueError as error:
            raise InputError(f"{file}:{number}: {error}") from error
    return tuple(paths)


def _read_bits(file: Path) -> npt.NDArray[np.bool_]:
    bits = []
    for number, line in read_lines(file):
        if line not in ("0", "1"):
            raise InputError(f"{file}:{number}: {line!r} is neither 0 nor 1; get NUS-WIDE's ground truth again")
        bits.append(line == "1")
    return np.array(bits)


def list_nuswide21(root: Path, *, strip_prefix: str | None = None) -> Listing:
    """The training images and queries that DPQ published, and their database (Gao et al. 2019, released lists).

    Without a list of the database it is every image of NUS-WIDE's ground truth that has one of the 21 concepts
    and is no query. With the ground truth at hand, it also names the columns of the lists.

    Args:
        root: folder with `Flickr/`; the lists and the ground truth are in it or in its `nuswide21/`.
        strip_prefix: folder that all listed paths start with and that is cut off.

    Returns:
        The images; mAP is cut at 5000.

    Raises:
        InputError: lists or ground truth are missing, damaged, or do not belong together.
    """
    lists = find_lists(root, _NAME, _LISTS)
    form = bits(len(CONCEPTS))
    train = read_list(lists.train, form, strip_prefix=strip_prefix)
    query = read_list(lists.query, form, strip_prefix=strip_prefix)
    truth = find_ground_truth((root / _NAME, root), CONCEPTS)
    if truth is not None:
        truth = truth.ordered_as(train, query)
    if lists.database is not None:
        database = read_list(lists.database, form, strip_prefix=strip_prefix)
    elif truth is not None:
        database = truth.labelled(without=query.paths)
    else:
        raise InputError(
            f"no database of {_NAME} in {root}: put {_TRUTH} into {root}, or database.txt into {lists.path}; {_LISTS}"
        )
    classes = CONCEPTS if truth is None else truth.concepts
    return Listing(_NAME, classes, train, query, database, PUBLISHED, cut=5000)
