"""The splits of one's own images: as the folder says, or drawn class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpq.protocols.base import SPLITS, SplitName, divide_classes, seeded_order
from dpq.protocols.folder.class_folders import Entry

FEWEST = 3  # images of a class from which one of every split can be drawn
_SCARCE = f"classes of fewer than {FEWEST} different images"


@dataclass(frozen=True)
class Division:
    """The splits of a folder."""

    # [n] int64 of each split, positions in the entries; in a seeded order that is no order of classes
    rows: Mapping[SplitName, Tensor]
    left_out: tuple[int, ...]  # positions of images that a draw leaves out: copies of other images of the same class
    # what keeps the splits from being used, by title; under each, all that it concerns
    problems: Mapping[str, Sequence[str]]


def divide(entries: Sequence[Entry], digests: Sequence[str | None], seed: int) -> Division:
    """Put every usable image into its splits.

    Where the splits are to be drawn, of every class the first tenth (at least one image) are queries, the next half
    train and the others are the database, in an order that the seed and the contents of the files alone decide: it
    outlasts renaming, copying and other file systems.

    Args:
        entries: the images, sorted by path; all with splits or all without.
        digests: SHA-256 of each file; None where it cannot be used.
        seed: of the draw.
    """
    usable = [row for row, digest in enumerate(digests) if digest is not None]
    keys = [str(digests[row]) for row in usable]
    order = [usable[place] for place in seeded_order(keys, seed)]  # of equal contents, the first path comes first
    if any(entry.splits for entry in entries):
        members = {name: [row for row in order if name in entries[row].splits] for name in SPLITS}
        left_out: list[int] = []
        problems = {"queries with the content of an image of another split": _shared(entries, digests, members)}
    else:
        order, left_out, conflicts = _different(entries, digests, order)
        classes = [entry.labels for entry in entries]
        members = divide_classes(order, classes, lambda size: (max(1, size // 10), size // 2))
        sizes = Counter(classes[row] for row in order)
        scarce = [f"{name[0]} ({sizes[name]})" for name in sorted(set(classes)) if sizes[name] < FEWEST]
        problems = {"images with the content of an image of another class": conflicts, _SCARCE: scarce}
    problems |= _gaps(entries, members, known=not problems.get(_SCARCE))
    return Division(
        {name: torch.tensor(rows, dtype=torch.int64) for name, rows in members.items()},
        tuple(left_out),
        {title: found for title, found in problems.items() if found},
    )


def _different(
    entries: Sequence[Entry], digests: Sequence[str | None], order: Sequence[int]
) -> tuple[list[int], list[int], list[str]]:
    """The order without repeated contents, those left out, and those that have another class as well."""
    first: dict[str | None, int] = {}
    kept, left_out, conflicts = [], [], []
    for row in order:
        earlier = first.setdefault(digests[row], row)
        if earlier == row:
            kept.append(row)
        elif entries[row].labels == entries[earlier].labels:
            left_out.append(row)
        else:
            conflicts.append(f"{entries[row].path} = {entries[earlier].path}")
    return kept, sorted(left_out), sorted(conflicts)


def _shared(
    entries: Sequence[Entry], digests: Sequence[str | None], members: Mapping[SplitName, Sequence[int]]
) -> list[str]:
    """Queries of which another split has a copy; one that the folder puts into the database as well does not count."""
    others: dict[str | None, list[int]] = {}
    for name in ("train", "database"):
        for row in members[name]:
            others.setdefault(digests[row], []).append(row)
    pairs = [(row, other) for row in members["query"] for other in others.get(digests[row], ()) if other != row]
    return sorted(f"{entries[row].path} = {entries[other].path}" for row, other in dict(pairs).items())


def _gaps(entries: Sequence[Entry], members: Mapping[SplitName, Sequence[int]], known: bool) -> dict[str, list[str]]:
    """Splits without images, and labels that nothing is trained on where those are `known`."""
    classes = {label for entry in entries for label in entry.labels}
    trained = {label for row in members["train"] for label in entries[row].labels}
    return {
        "splits without images": [name for name in SPLITS if not members[name]],
        "labels of no training image": sorted(classes - trained) if known else [],
        "one class where two or more are needed": sorted(classes) if len(classes) < 2 else [],
    }
