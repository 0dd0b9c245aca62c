"""NUS-WIDE with its 21 most frequent concepts: which images belong to DPQ's splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dpq.errors import InputError
from dpq.files.places import is_file, is_folder
from dpq.protocols.listed.listing import Listing, Published
from dpq.protocols.listed.lists import Listed, bits, find_lists, read_each, read_list, relative_path

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


def find_ground_truth(folders: Sequence[Path], concepts: tuple[str, ...]) -> Listed | None:
    """All images of NUS-WIDE in the official order, from the first folder that has the ground truth, or None.

    Args:
        folders: where `Groundtruth/` and `ImageList/` may be.
        concepts: names as in `Groundtruth/AllLabels/Labels_<concept>.txt`; the label columns.

    Raises:
        InputError: a file is missing or damaged, or has another number of lines than the list of images.
    """
    folder = next((folder for folder in folders if is_folder(folder / _LABELS)), None)
    if folder is None:
        return None
    images = folder / _IMAGES
    files = [folder / _LABELS / f"Labels_{concept}.txt" for concept in concepts]
    for file in (images, *files):
        if not is_file(file):
            raise InputError(f"{file} is missing; unpack NUS-WIDE's ImageList and Groundtruth into {folder}")
    paths = tuple(read_each(images, lambda line: f"Flickr/{relative_path(line)}"))
    columns = [read_each(file, _bit) for file in files]
    for file, column in zip(files, columns, strict=True):
        if len(column) != len(paths):
            raise InputError(f"{file} has {len(column)} labels for the {len(paths)} images of {images}; get both again")
    return Listed(paths, torch.tensor(columns).T.contiguous(), _LABELS, paths)


def _bit(line: str) -> bool:
    if line not in ("0", "1"):
        raise ValueError(f"{line!r} is neither 0 nor 1; get NUS-WIDE's ground truth again")
    return line == "1"


def order_of_columns(truth: Listed, lists: Sequence[Listed]) -> list[int]:
    """For each label column of the lists, which nobody named, the column of the ground truth that it is.

    Columns and concepts are assigned one to one so that the labels of the listed images agree most; among equally
    good assignments the one nearest the present order is taken.

    Raises:
        InputError: the lists are of other images, or a column agrees with no concept that is left for it.
    """
    from scipy.optimize import linear_sum_assignment

    row_of = {path: row for row, path in enumerate(truth.paths)}
    listed = np.concatenate([split.labels.numpy() for split in lists])  # [n, L]
    rows = np.array([row_of.get(path, -1) for split in lists for path in split.paths])
    known = rows >= 0
    names = " and ".join(split.source for split in lists)
    if known.mean() < AGREEMENT:
        raise InputError(
            f"{known.sum()} of the {len(known)} images of {names} are in {_IMAGES}; "
            "list them as Flickr/<folder>/<file>, without another prefix"
        )
    ours, theirs = listed[known].astype(np.int64), truth.labels.numpy()[rows[known]].astype(np.int64)
    equal = ours.T @ theirs + (1 - ours).T @ (1 - theirs)  # [L, L] images on which column and concept agree
    count = len(CONCEPTS)
    _, order = linear_sum_assignment(equal * (count + 1) + np.eye(count, dtype=np.int64), maximize=True)
    agreement = equal[np.arange(count), order] / known.sum()
    worst = int(agreement.argmin())
    if agreement[worst] < AGREEMENT:
        raise InputError(
            f"label column {worst} of {names} fits no concept: with the best left, {CONCEPTS[order[worst]]!r}, it "
            f"agrees on {agreement[worst]:.3f} of the images; {AGREEMENT} is needed: give the lists of nuswide21"
        )
    return [int(column) for column in order]


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
    splits = {name: read_list(path, form, strip_prefix=strip_prefix) for name, path in lists.items()}
    truth = find_ground_truth((root / _NAME, root), CONCEPTS)
    order = list(range(len(CONCEPTS))) if truth is None else order_of_columns(truth, [splits["train"], splits["query"]])
    if "database" not in splits:
        if truth is None:
            raise InputError(
                f"no database of {_NAME} in {root}: put {_TRUTH} into {root}, or database.txt into "
                f"{lists['train'].parent}; {_LISTS}"
            )
        queries = set(splits["query"].paths)
        labelled = truth.labels.any(dim=1).tolist()
        rows = [row for row, path in enumerate(truth.paths) if labelled[row] and path not in queries]
        if not rows:
            raise InputError(f"{_LABELS} leaves no image for the database; get NUS-WIDE's ground truth again")
        paths = tuple(truth.paths[row] for row in rows)
        splits["database"] = Listed(paths, truth.labels[rows][:, order], _LABELS, paths)
    classes = tuple(CONCEPTS[column] for column in order)
    return Listing(_NAME, classes, splits, PUBLISHED, cut=5000)
