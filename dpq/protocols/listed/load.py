"""Data sets of published lists (NUS-WIDE, ImageNet): which copy of the images fits them, and its splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import isfile  # False for any path that cannot be looked at
from pathlib import Path

import torch
from torch import Tensor

from dpq.errors import InputError
from dpq.protocols.base import SPLITS, Dataset, ReadOptions, Split, SplitName, seeded_order
from dpq.protocols.listed.imagenet import list_imagenet100, list_imagenet100_hashnet
from dpq.protocols.listed.listing import Listing, find_leaks, listed_fingerprint
from dpq.protocols.listed.nuswide import list_nuswide21
from dpq.protocols.store.write import store_images

LISTINGS: dict[str, Callable[..., Listing]] = {
    "nuswide21": list_nuswide21,
    "imagenet100": list_imagenet100,
    "imagenet100-hashnet": list_imagenet100_hashnet,
}


@dataclass(frozen=True)
class Copy:
    """A listing, with its images in one order for all splits."""

    listing: Listing  # which images belong to the protocol
    # U different files, in a seeded order: it follows from the listed paths alone and is sorted by no class
    files: tuple[str, ...]
    rows: Mapping[SplitName, Tensor]  # positions of each split's images in `files`, ascending
    labels: Mapping[SplitName, Tensor]  # [N, L] bool of each split, in the same order

    def usable(self, digests: tuple[str | None, ...]) -> dict[SplitName, Tensor]:
        """For each split, which of its images ([N] bool) have a digest, so could be read."""
        there = torch.tensor([digest is not None for digest in digests])
        return {name: there[rows] for name, rows in self.rows.items()}

    def missing(self, usable: Mapping[SplitName, Tensor]) -> dict[SplitName, int]:
        """Published images of each split that are not listed, or not usable."""
        unlisted = self.listing.shortfall()
        return {name: max(0, unlisted[name]) + int((~usable[name]).sum()) for name in SPLITS}


def find_copy(protocol: str, data_root: Path | None, options: ReadOptions) -> Copy:
    """Read the lists of a protocol under a data root; no image is opened.

    Raises:
        InputError: no data root; lists are missing or wrong.
    """
    if data_root is None:
        raise InputError(
            f"{protocol} needs your copy of the images; give the folder of images and lists as data root",
            "images",
            protocol,
        )
    listing = LISTINGS[protocol](data_root, strip_prefix=options.strip_prefix)
    path_of = {
        file: path for split in listing.splits.values() for file, path in zip(split.files, split.paths, strict=True)
    }
    unordered = list(path_of)
    files = tuple(unordered[i] for i in seeded_order(list(path_of.values()), seed=0))
    place = {file: row for row, file in enumerate(files)}
    rows, labels = {}, {}
    for name, split in listing.splits.items():
        rows[name], order = torch.tensor([place[file] for file in split.files]).sort(stable=True)
        labels[name] = split.labels[order]
    return Copy(listing, files, rows, labels)


def load_listed(protocol: str, data_root: Path | None, cache: Path, options: ReadOptions) -> Dataset:
    """The splits of a protocol of published lists, their images decoded once and read from the cache.

    Args:
        protocol: a key of `LISTINGS`.
        data_root: holds the images and the lists.
        cache: folder for decoded pixels: 3 * side**2 bytes per image.
        options: how the copy is read.

    Returns:
        The data set. Its `facts` say how many of the published images are missing, and whether the lists are the
        published ones; only then may it stand beside a paper.

    Raises:
        InputError: lists that are missing, wrong, or mix queries with other splits; more missing images than allowed.
    """
    copy = find_copy(protocol, data_root, options)
    listing, root = copy.listing, Path(str(data_root))
    for what, paths in find_leaks(listing.splits).items():
        raise InputError(
            f"the lists of {protocol} have {len(paths)} images {what}, the first {paths[0]!r}; mend the lists",
            "data",
            protocol,
        )
    there = {name: torch.tensor([isfile(root / copy.files[i]) for i in rows]) for name, rows in copy.rows.items()}
    _refuse_missing(copy.missing(there), root, protocol, options)
    options.check(int(there["train"].sum()), len(listing.classes))
    store = store_images(root, copy.files, cache, options)
    digests = store.inspection.digests
    usable = copy.usable(digests)
    missing = copy.missing(usable)
    _refuse_missing(missing, root, protocol, options)
    for name in SPLITS:
        if not usable[name].any():
            raise InputError(f"no {name} image of {protocol} is left in {root}; complete the copy")
    rows = {name: copy.rows[name][usable[name]] for name in SPLITS}
    splits = {
        name: Split(
            store.rows(rows[name]), copy.labels[name][usable[name]], tuple(copy.files[i] for i in rows[name].tolist())
        )
        for name in SPLITS
    }
    own_lists = bool(listing.departures())
    published = not own_lists and not any(missing.values())
    return Dataset(
        protocol,
        protocol if published else f"{protocol}-other-lists" if own_lists else f"{protocol}-incomplete",
        listing.classes,
        splits["train"],
        splits["query"],
        splits["database"],
        listed_fingerprint(copy.rows, copy.labels, digests),
        listing.cut,
        further_cuts=listing.further_cuts,
        facts={"published": published, "lists_as_published": not own_lists, "missing": missing, "side": options.side},
    )


def _refuse_missing(missing: Mapping[SplitName, int], root: Path, protocol: str, options: ReadOptions) -> None:
    lacking = sum(missing.values())
    if lacking > options.allow_missing:
        parts = ", ".join(f"{count} {name}" for name, count in missing.items() if count)
        raise InputError(
            f"{root} lacks {lacking} of the published images of {protocol} ({parts}); complete the copy, "
            f"or go on without them with allow_missing={lacking}",
            "allow_missing",
            lacking,
        )
