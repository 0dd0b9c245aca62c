"""The lists of a protocol: which image stands where in a split, for programs that make their codes elsewhere."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError
from dpq.files.atomic import write_atomically
from dpq.protocols.base import SPLITS, Dataset, Images, Split, SplitName
from dpq.protocols.store.read import MappedImages, StoredImages

_BLOCK = 4096  # images in memory at once


@dataclass(frozen=True)
class ImageList:
    """The N images of a split, in its order."""

    split: SplitName
    names: tuple[str, ...] | None  # by the data set's own index: paths or positions; None where it has none
    digests: tuple[str, ...]  # SHA-256
    digests_of: Literal["pixels", "file"]
    labels: tuple[str, ...]  # class names, joined by '|'

    @classmethod
    def of(cls, dataset: Dataset, split: SplitName) -> ImageList:
        """The list of a split of a data set; images are read where nobody has taken their digests."""
        images: Split = getattr(dataset, split)
        names = None if images.names is None else tuple(map(_in_utf8, images.names))
        unseen = dataset.unseen and split != "train"
        classes = np.array(dataset.facts["unseen"] if unseen else dataset.classes)
        labels = ("|".join(classes[row]) for row in images.labels.numpy())
        digests_of: Literal["pixels", "file"] = "file" if isinstance(images.images, StoredImages) else "pixels"
        return cls(split, names, _digests(images.images), digests_of, tuple(labels))

    @property
    def text(self) -> str:
        """As a CSV file: position in the split, own index, digest, labels."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        own = {} if self.names is None else {"index": self.names}
        columns: dict[str, Sequence[Any]] = {"position": range(len(self.digests)), **own}
        columns |= {f"sha256_of_{self.digests_of}": self.digests, "labels": self.labels}
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return stream.getvalue()

    def rows(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """For each image of the list the row of `ids` that names it, [N].

        Args:
            ids: [N] texts or whole numbers, each an index of the list, or each a digest of it.

        Raises:
            InputError: an image is named twice or not at all, or an id is of no image of the list.
        """
        known = {"index": self.names or (), "digest": self.digests}
        given = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in ids.tolist()]
        what = next((name for name, column in known.items() if set(column) & set(given)), None)
        if what is None:
            raise InputError(
                f"no id of the {self.split} images is an index or digest of {self.split}.csv, the first is "
                f"{given[0][:80]!r}; take the ids from the lists that --lists writes"
            )
        listed, counted = Counter(known[what]), Counter(given)
        for image, times in listed.items():
            if times > 1:
                raise InputError(
                    f"{times} {self.split} images have the {what} {image}; name images by the other column"
                )
            if counted[image] != 1:
                found = f"is there {counted[image]} times" if counted[image] else "is missing"
                raise InputError(f"the {self.split} image of {what} {image} {found}; give each image of the list once")
        for image in counted:
            if image not in listed:
                raise InputError(
                    f"the id {image[:80]!r} is of no {self.split} image; give the images of {self.split}.csv alone"
                )
        row = {image: i for i, image in enumerate(given)}
        return np.array([row[image] for image in known[what]], dtype=np.int64)


def write_lists(dataset: Dataset, folder: Path) -> list[Path]:
    """Write train.csv, query.csv and database.csv, each whole or not at all, once all of them are made."""
    made = {folder / f"{split}.csv": ImageList.of(dataset, split).text for split in SPLITS}
    for path, text in made.items():
        write_atomically(path, text, remedy="choose another --lists")
    return list(made)


def _digests(images: Images) -> tuple[str, ...]:
    if isinstance(images, StoredImages):
        return tuple(str(images.store.inspection.digests[row]) for row in images.positions.tolist())
    if isinstance(images, MappedImages):
        return tuple(images.digests[row] for row in images.positions.tolist())
    blocks = (images[start : start + _BLOCK].contiguous().numpy() for start in range(0, len(images), _BLOCK))
    return tuple(hashlib.sha256(image.data).hexdigest() for block in blocks for image in block)


def _in_utf8(name: str) -> str:
    """A file's name, which may be no UTF-8, as a text that can be written."""
    return name.encode(errors="backslashreplace").decode()
