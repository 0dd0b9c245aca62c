"""Which images belong to a protocol of published lists, and how that compares to what was published."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from dpq.protocols.listed.lists import Listed

SplitName = Literal["train", "query", "database"]
SPLITS: tuple[SplitName, ...] = ("train", "query", "database")


@dataclass(frozen=True)
class Published:
    """Facts about the published lists, by split; a split without a key has no known value."""

    sizes: Mapping[SplitName, int]  # number of images
    labels_per_image: Mapping[SplitName, float]  # mean, to two decimals
    per_class: Mapping[SplitName, int]  # images of each class, where all have the same number
    digests: Mapping[SplitName, str]  # `list_digest`


@dataclass(frozen=True)
class Listing:
    """The images of one protocol, not yet decoded."""

    protocol: str  # the protocol's name, for instance `nuswide21`
    classes: tuple[str, ...]  # class names; the order of the label columns
    train: Listed  # the training split
    query: Listed  # the queries
    database: Listed  # the database
    published: Published  # what was published
    cut: int | None  # mAP is taken over the first `cut` ranks
    further_cuts: tuple[int, ...] = ()  # cuts that other papers use on the same lists

    def split(self, name: SplitName) -> Listed:
        """The split of that name."""
        return {"train": self.train, "query": self.query, "database": self.database}[name]

    def digest(self, split: SplitName) -> str:
        """`list_digest` of a split."""
        return list_digest(self.split(split))

    def shortfall(self) -> dict[SplitName, int]:
        """How many of the published images each split lacks; negative where it has more."""
        return {name: size - len(self.split(name)) for name, size in self.published.sizes.items()}

    def departures(self) -> tuple[str, ...]:
        """One readable line for each way in which a split is not what was published; empty where all is."""
        lines = []
        for name in SPLITS:
            split = self.split(name)
            found: tuple[tuple[str, object, object], ...] = (
                ("images", len(split), self.published.sizes.get(name)),
                ("labels per image", _labels_per_image(split), self.published.labels_per_image.get(name)),
                ("images per class", _per_class(split), self.published.per_class.get(name)),
                ("SHA-256", self.digest(name), self.published.digests.get(name)),
            )
            lines += [
                f"{name}: {what} {have}, published {expected}"
                for what, have, expected in found
                if expected is not None and have != expected
            ]
        return tuple(lines)

    def as_published(self) -> bool:
        """Whether every split has the published size, and the published images and labels where those are known."""
        return not self.departures()


def list_digest(split: Listed) -> str:
    """SHA-256 over the sorted lines `<file name> <bits>` of a split, in hexadecimal.

    Folders are left out: they depend on where the data root is, and in NUS-WIDE and ImageNet the file name alone
    tells the image. So is the order of the list.
    """
    classes = split.labels.shape[1]
    digits = np.where(split.labels.numpy(), b"1", b"0").tobytes().decode()  # [N * L]
    lines = sorted(
        f"{path.rpartition('/')[2]} {digits[i * classes : (i + 1) * classes]}\n" for i, path in enumerate(split.paths)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def listed_fingerprint(
    rows: Mapping[SplitName, Tensor], labels: Mapping[SplitName, Tensor], digests: Sequence[str | None]
) -> str:
    """SHA-256 over the labels and the files' digests of all splits, in hexadecimal.

    Args:
        rows: [n] int64 of each split, positions of its images in `digests`.
        labels: [n, L] bool of each split.
        digests: of all files.
    """
    whole = hashlib.sha256()
    for name in SPLITS:
        whole.update(f"{name} {list(labels[name].shape)}".encode())
        whole.update(labels[name].numpy().data)
        whole.update("".join(f"{digests[row]}\n" for row in rows[name].tolist()).encode())
    return whole.hexdigest()


def _labels_per_image(split: Listed) -> float:
    return round(int(split.labels.sum()) / len(split), 2)


def _per_class(split: Listed) -> int | str:
    """Images of each class, or the range where the classes differ."""
    counts = split.labels.sum(dim=0)
    least, most = int(counts.min()), int(counts.max())
    return least if least == most else f"{least} to {most}"


@dataclass(frozen=True)
class Defects:
    """Images, by their files, that a fair comparison would not have; every tuple is sorted."""

    repeated: Mapping[str, tuple[str, ...]]  # those that a split lists more than once, by split
    shared_train_query: tuple[str, ...]  # those in the training split and among the queries
    shared_query_database: tuple[str, ...]  # those among the queries and in the database
    unlabelled: Mapping[str, tuple[str, ...]]  # those without a label, by split; as queries they never find anything

    def leaks(self) -> dict[str, tuple[str, ...]]:
        """Images that make a comparison unfair, by what is wrong with them; without empty entries."""
        found = {
            "in both train and query": self.shared_train_query,
            "in both query and database": self.shared_query_database,
            **{f"more than once in {split}": paths for split, paths in self.repeated.items()},
        }
        return {what: paths for what, paths in found.items() if paths}

    def without_label(self) -> dict[str, tuple[str, ...]]:
        """Images without a label, by where they are; without empty entries."""
        return {f"without a label in {split}": paths for split, paths in self.unlabelled.items() if paths}


def find_defects(train: Listed, query: Listed, database: Listed | None) -> Defects:
    """Looks through the splits of a protocol; training images in the database are no defect.

    Args:
        train: the training split.
        query: the queries.
        database: the database, where it is known.

    Returns:
        Everything found; the mappings have a key for every split given.
    """
    splits = {"train": train, "query": query}
    if database is not None:
        splits["database"] = database
    queries = set(query.files)  # one file may be listed under several paths
    return Defects(
        repeated={name: _repeated(split.files) for name, split in splits.items()},
        shared_train_query=tuple(sorted(queries.intersection(train.files))),
        shared_query_database=tuple(sorted(queries.intersection(database.files if database is not None else ()))),
        unlabelled={name: _unlabelled(split) for name, split in splits.items()},
    )


def _repeated(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path, count in Counter(paths).items() if count > 1))


def _unlabelled(split: Listed) -> tuple[str, ...]:
    rows = (~split.labels.any(dim=1)).nonzero().flatten().tolist()
    return tuple(sorted({split.paths[row] for row in rows}))
