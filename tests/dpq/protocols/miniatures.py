"""Small copies of NUS-WIDE and ImageNet in their official layouts, with lists in the published formats.

The images are made up, with the paths and the kinds of labels of the real ones, and differ in size. Every label
shows as a colour, so that a network learns them from the training images in a few epochs. All is the same each time.
"""

from __future__ import annotations

import colorsys
import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpq.protocols.listed.nuswide import CONCEPTS

# Images of each split. The database of NUS-WIDE holds the training images, as does ImageNet's.
NUSWIDE_SIZES = {"train": 84, "query": 21, "database": 126}
NUSWIDE_IMAGES = 155  # those of train, query and database, and 8 without any of the 21 concepts
IMAGENET_SIZES = {"train": 80, "query": 24, "database": 120}

# WordNet id and ILSVRC class id; deliberately not sorted.
IMAGENET_CLASSES = (("n02389026", 339), ("n03047690", 502), ("n02487347", 373), ("n01440764", 0))

_FOLDERS = ("actor", "basket", "construction_worker", "swimming_pools")


def write_mini_nuswide(root: Path, images: bool = True) -> None:
    """Writes NUS-WIDE-21: lists in `root/nuswide21/`, ground truth and `Flickr/` in `root`.

    Images carry one to three of the 21 concepts, every concept in every split. There is no list of the database:
    the ground truth gives it. Besides the 21 concepts, the ground truth has `airport`, alone on some images.

    Args:
        root: a folder, made if need be.
        images: whether to write the images as well, not only the lists and the ground truth.
    """
    random = np.random.default_rng(21)
    names, labels = [], np.zeros((NUSWIDE_IMAGES, len(CONCEPTS)), dtype=int)
    for i in range(NUSWIDE_IMAGES):
        names.append(f"{_FOLDERS[i % len(_FOLDERS)]}/{i:04d}_{random.integers(10**8, 10**9)}.jpg")
        if i < NUSWIDE_IMAGES - 8:
            labels[i, i % len(CONCEPTS)] = 1
            labels[i, random.integers(0, len(CONCEPTS), random.integers(0, 3))] = 1
    listed = [f"Flickr/{name} {' '.join(map(str, row))}" for name, row in zip(names, labels, strict=True)]
    train, query = NUSWIDE_SIZES["train"], NUSWIDE_SIZES["query"]
    write_lines(root / "nuswide21/train.txt", listed[:train])
    write_lines(root / "nuswide21/query.txt", listed[train : train + query])

    order = random.permutation(NUSWIDE_IMAGES)  # the official order is not that of the lists
    write_lines(root / "ImageList/Imagelist.txt", [names[i].replace("/", "\\") for i in order])
    airport = ~labels.any(axis=1)
    for concept, column in zip((*CONCEPTS, "airport"), (*labels.T, airport), strict=True):
        write_lines(root / f"Groundtruth/AllLabels/Labels_{concept}.txt", [str(int(column[i])) for i in order])
    if images:
        for name, row in zip(names, labels, strict=True):
            _write_image(root / "Flickr" / name, np.flatnonzero(row), len(CONCEPTS), random)


def write_mini_imagenet(
    root: Path,
    hashnet: bool = False,
    training: str = "train/{wnid}/{file}",
    validation: str = "val/{file}",
) -> None:
    """Writes four classes of ImageNet with DPQ's lists in `root/imagenet100/` and the images in `root`.

    DPQ's draw has no list of the database: the training folders are it. Both draws may share a root.

    Args:
        root: a folder, made if need be.
        hashnet: whether to write HashNet's lists instead, in `root/imagenet100_hashnet/`, database included.
        training: where training images lie; `wnid` and `file` stand for themselves.
        validation: where validation images lie; likewise.
    """
    random = np.random.default_rng(100)
    train, query, database = [], [], []
    for i in range(IMAGENET_SIZES["database"]):
        at = i % len(IMAGENET_CLASSES)
        wnid, number = IMAGENET_CLASSES[at]
        file = f"{wnid}_{i * 37 + 5}.JPEG"
        database.append(f"image/{file} {at}" if hashnet else f"{wnid}/{file} {number}")
        _write_image(root / training.format(wnid=wnid, file=file), [at], len(IMAGENET_CLASSES), random)
    train = database[: IMAGENET_SIZES["train"]]
    for i in range(IMAGENET_SIZES["query"]):
        at = (i * 3 + 1) % len(IMAGENET_CLASSES)
        wnid, number = IMAGENET_CLASSES[at]
        file = f"ILSVRC2012_val_{i * 11 + 15:08d}.JPEG"
        query.append(f"val_image/{file} {at}" if hashnet else f"{file} {number}")
        _write_image(root / validation.format(wnid=wnid, file=file), [at], len(IMAGENET_CLASSES), random)

    lists = root / ("imagenet100_hashnet" if hashnet else "imagenet100")
    write_lines(lists / "train.txt", train)
    write_lines(lists / "query.txt", query)
    if hashnet:
        content = "\n".join(sorted(database, key=lambda line: line[::-1])) + "\n"
        (lists / "database.txt.gz").write_bytes(gzip.compress(content.encode()))


def real_lists(name: str) -> Path:
    """The folder of full published lists; the test that asks is skipped where they are not at hand.

    Args:
        name: for instance `nuswide21`. `DPQ_LISTS` names the folder above it.
    """
    beside = Path(__file__).parents[4] / "shared" / "protocols"
    folder = Path(os.environ.get("DPQ_LISTS", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"no published lists in {folder}; DPQ_LISTS names their place")
    return folder


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """Writes a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _write_image(path: Path, labels: Sequence[int] | np.ndarray, classes: int, random: np.random.Generator) -> None:
    """A JPEG of 40 to 72 pixels a side: a stripe in the colour of each label, grey without one, and noise."""
    height, width = random.integers(40, 73, 2)
    colours = np.array([colorsys.hsv_to_rgb(label / classes, 0.9, 0.9) for label in labels] or [(0.5, 0.5, 0.5)])
    stripe = np.arange(width) * len(colours) // width
    noise = random.normal(0, 12, (height, width, 3))
    pixels = np.clip(colours[stripe][None] * 255 + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=90)
