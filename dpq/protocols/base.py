"""What every data protocol returns, and the seeded draws that they share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dpq.errors import InputError

Denominator = Literal["hits", "total", "capped"]
SplitName = Literal["train", "query", "database"]
SPLITS: tuple[SplitName, ...] = ("train", "query", "database")


class Images(Protocol):
    """[N, 3, H, W] uint8, RGB: a tensor in memory, or `StoredImages` or `MappedImages` on disk, which indexing reads.

    A tensor has a `take` of its own, which counts pixels: rows of either are taken by `take_images`.
    """

    @property
    def shape(self) -> torch.Size:
        """[N, 3, H, W]."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels: uint8."""

    def __len__(self) -> int:
        """Number of images N."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """The images at a slice or at [n] int64 positions, in memory."""

    def take(self, rows: Tensor, /) -> Images:
        """The images at [n] int64 positions, in that order; what is on disk stays there."""


def take_images(images: Images, rows: slice | Tensor) -> Images:
    """The images at a slice or at [n] int64 positions, in that order; what is on disk stays there."""
    if isinstance(images, Tensor):
        return images[rows]
    return images.take(rows if isinstance(rows, Tensor) else torch.arange(len(images))[rows])


@dataclass(frozen=True)
class Split:
    """Images with their labels, in a fixed order.

    Attributes:
        images: [N, 3, H, W] uint8, RGB.
        labels: [N, L] bool, one column per class; single-label sets have one True per row.
        names: N texts by which the data set itself knows its images: paths, or positions; None where they are unknown.
    """

    images: Images
    labels: Tensor
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse splits whose parts do not fit, or whose labels are no flags.

        Raises:
            InputError: they do not.
        """
        if len(self.images) != len(self.labels):
            raise InputError(f"{len(self.images)} images but {len(self.labels)} label rows; give one for each")
        if self.names is not None and len(self.names) != len(self.images):
            raise InputError(f"{len(self.images)} images but {len(self.names)} names; give one for each, or none")
        kinds = getattr(self.images, "dtype", None), getattr(self.labels, "dtype", None)
        if kinds != (torch.uint8, torch.bool) or self.labels.ndim != 2:
            raise InputError(f"a split holds uint8 images and bool labels [N, L]; got {kinds[0]} and {kinds[1]}")

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.images)

    @property
    def first_label(self) -> Tensor:
        """[N] int64: the first class of each image; -1 where it has none."""
        return self.labels.int().argmax(dim=1).masked_fill(~self.labels.any(dim=1), -1)

    def take(self, rows: Tensor) -> Split:
        """The images at `rows` ([n] int64), in that order; what is on disk stays there."""
        names = None if self.names is None else tuple(self.names[row] for row in rows.tolist())
        return Split(take_images(self.images, rows), self.labels[rows], names)

    def having(self, columns: Sequence[int]) -> Split:
        """The images that have one of these labels, in the order of the split, with all label columns."""
        return self.take(torch.nonzero(self.labels[:, columns].any(dim=1)).flatten())

    def balanced(self, limit: int) -> Split:
        """The first `limit // L` images of every class, in the order of the split.

        An image counts for its first label; one without any is left out. A class with fewer images gives what it has.

        Raises:
            InputError: `limit` is below one image per class.
        """
        per_class = images_per_class(limit, self.labels.shape[1])
        first_label = self.first_label
        rows = [torch.nonzero(first_label == c).flatten()[:per_class] for c in range(self.labels.shape[1])]
        return self.take(torch.cat(rows).sort().values)


def images_per_class(limit: int, classes: int) -> int:
    """How many images of each class a limit leaves.

    Raises:
        InputError: none.
    """
    if limit < classes:
        raise InputError(f"a limit of {limit} leaves no image for some of the {classes} classes; raise it", "limit")
    return limit // classes


@dataclass(frozen=True)
class Dataset:
    """The splits of one protocol, with everything a result must say about its data.

    Attributes:
        protocol: the protocol's name, for instance `cifar10`.
        name: what the images are, for instance `cifar10-jpeg` when they were re-encoded.
        classes: class names; the order of the label columns.
        fingerprint: SHA-256 over the pixels (where images are listed: the image files) and labels of all splits, in
            hexadecimal.
        cut: mAP is taken over the first `cut` ranks; None means the whole database.
        denominator: what the sum of precisions is divided by (`dpq.metrics`).
        further_cuts: cuts at which mAP is reported as well.
        facts: what else a result must say about the data, JSON-able.
        unseen: query and database are of classes that training has not seen, with label columns of their own;
            `classes` are then the training split's.
    """

    protocol: str
    name: str
    classes: tuple[str, ...]
    train: Split
    query: Split
    database: Split
    fingerprint: str
    cut: int | None = None
    denominator: Denominator = "hits"
    further_cuts: tuple[int, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    unseen: bool = False

    def limited(self, limit: int) -> Dataset:
        """A class-balanced subset of about `limit` images in every split; its name and fingerprint say so."""
        parts = (split.balanced(limit) for split in (self.train, self.query, self.database))
        return self._reduced(f"limit{limit}", *parts)

    def validation(self) -> Dataset:
        """A protocol of the same kind made from the training split alone, for choosing settings.

        Of every class, in the order of the split, the first four fifths train; of the rest one half are
        queries and the other half the database. The real queries and database are not touched.

        Raises:
            InputError: too few training images; or queries are of unseen classes, which the training split lacks.
        """
        if self.unseen:
            raise InputError(
                f"{self.protocol} has no validation part: its training images are of other classes than its queries; "
                "choose settings on a protocol without held-out classes"
            )
        train, query, database = [], [], []
        first_label = self.train.first_label
        for c in range(len(self.classes)):
            rows = torch.nonzero(first_label == c).flatten()
            kept, middle = len(rows) * 4 // 5, len(rows) * 9 // 10
            train.append(rows[:kept])
            query.append(rows[kept:middle])
            database.append(rows[middle:])
        parts = [self.train.take(torch.cat(rows).sort().values) for rows in (train, query, database)]
        if min(len(part) for part in parts) < len(self.classes):
            raise InputError("a validation part needs at least 10 training images of every class")
        return self._reduced("validation", *parts)

    def _reduced(self, how: str, train: Split, query: Split, database: Split) -> Dataset:
        name, fingerprint = f"{self.name}-{how}", f"{self.fingerprint}-{how}"
        return replace(self, name=name, train=train, query=query, database=database, fingerprint=fingerprint)


def seeded_order(keys: Sequence[str], seed: int) -> list[int]:
    """Positions of `keys` in a random order that depends on the keys and the seed alone.

    Keys are sorted by SHA-256 of `"<seed>:<key>"`: the same on every machine and in every library version,
    whatever order the files were listed in.

    Args:
        keys: distinct names.
        seed: the split's own seed.

    Returns:
        A permutation of `range(len(keys))`.
    """
    return sorted(range(len(keys)), key=lambda i: hashlib.sha256(f"{seed}:{keys[i]}".encode()).digest())


def fingerprint(*splits: Split) -> str:
    """SHA-256 over shapes, pixels and labels of the splits, in order."""
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.images[:], split.labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def draw_splits(
    images: Images,
    class_of: Sequence[int],
    keys: Sequence[str],
    classes: int,
    *,
    query: int,
    train: int,
    seed: int,
    names: Sequence[str] | None = None,
) -> tuple[Split, Split, Split]:
    """Disjoint train, query and database splits: so many images of every class, the rest is the database.

    Args:
        images: [N, 3, H, W] uint8.
        class_of: N class indices.
        keys: N distinct names; they alone decide the draw.
        classes: number of classes L.
        query: query images per class.
        train: training images per class.
        seed: the split's own seed.
        names: as of `Split`; they decide nothing.

    Returns:
        Train, query and database, each in a seeded order (never sorted by class: ties would notice).

    Raises:
        InputError: a class has too few images.
    """
    order = seeded_order(keys, seed)
    sizes = Counter(class_of)
    for c in range(classes):
        if sizes[c] <= query + train:
            raise InputError(
                f"class {c} has {sizes[c]} images; the protocol needs more than {query + train} "
                f"({query} queries, {train} training images, the rest database): use the complete data set"
            )
    rows = divide_classes(order, class_of, lambda _: (query, train))
    labels = torch.zeros(len(images), classes, dtype=torch.bool)
    labels[torch.arange(len(images)), torch.tensor(class_of)] = True
    whole = Split(images, labels, None if names is None else tuple(names))
    train_split, query_split, database = (whole.take(torch.tensor(rows[name])) for name in SPLITS)
    return train_split, query_split, database


def divide_classes(
    order: Sequence[int], class_of: Sequence[Hashable], shares: Callable[[int], tuple[int, int]]
) -> dict[SplitName, list[int]]:
    """Positions in the splits, each in the given order: of every class first queries, then training images.

    Args:
        order: positions in `class_of`.
        class_of: class of each position.
        shares: queries and training images of a class by its size; the rest is the database.
    """
    sizes, seen = Counter(class_of[i] for i in order), Counter[Hashable]()
    members: dict[SplitName, list[int]] = {name: [] for name in SPLITS}
    for i in order:
        query, train = shares(sizes[class_of[i]])
        place = seen[class_of[i]]
        members["query" if place < query else "train" if place < query + train else "database"].append(i)
        seen[class_of[i]] += 1
    return members


@dataclass(frozen=True)
class ReadOptions:
    """For protocols whose images are listed and come in sizes of their own.

    Attributes:
        side: height and width in pixels that images are resized to when they are decoded, once, whatever their own
            proportion (the papers: 256).
        allow_missing: how many of the published images a copy may lack, over all splits.
        strip_prefix: what to take off the paths in lists that name another machine's folders.
        workers: processes that decode; 0 decodes in this one, None takes one per core, at most 8.
        check: called before the first image is decoded, with the number of training images, or what it is at most, and
            that of classes; refuses, with an `InputError`, what they are not enough for.
    """

    side: int = 256
    allow_missing: int = 0
    strip_prefix: str | None = None
    workers: int | None = None
    check: Callable[[int, int], None] = lambda train, classes: None
