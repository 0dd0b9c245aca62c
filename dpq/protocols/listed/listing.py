"""Which images belong to a protocol of published lists, and how that compares to what was published."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dpq.protocols.base import SPLITS, SplitName
from dpq.protocols.listed.lists import Listed


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
    splits: Mapping[SplitName, Listed]  # all of `SPLITS`, in their order
    published: Published  # what was published
    cut: int | None  # mAP is taken over the first `cut` ranks
    further_cuts: tuple[int, ...] = ()  # cuts that other papers use on the same lists

    def shortfall(self) -> dict[SplitName, int]:
        """How many of the published images each split lacks; negative where it has more."""
        return {name: size - len(self.splits[name]) for name, size in self.published.sizes.items()}

    def departures(self) -> tuple[str, ...]:
        """One readable line for each way in which a split is not what was published; empty where all is."""
        lines, published = [], self.published
        for name, split in self.splits.items():
            counts = split.labels.sum(dim=0)
            least, most = int(counts.min()), int(counts.max())
            found: tuple[tuple[str, object, object], ...] = (
                ("images", len(split), published.sizes.get(name)),
                ("labels per image", round(int(counts.sum()) / len(split), 2), published.labels_per_image.get(name)),
                ("images per class", least if least == most else f"{least} to {most}", published.per_class.get(name)),
                ("SHA-256", list_digest(split), published.digests.get(name)),
            )
            lines += [
                f"{name}: {what} {have}, published {expected}"
                for what, have, expected in found
                if expected is not None and have != expected
            ]
        return tuple(lines)


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


def find_leaks(splits: Mapping[SplitName, Listed]) -> dict[str, tuple[str, ...]]:
    """Images, by their files, that make a comparison unfair: sorted, by what is wrong with them, without empty entries.

    Training images in the database are no defect. The database may be unknown.
    """
    files = {name: set(split.files) for name, split in splits.items()}  # one may be listed under several paths
    found: dict[str, Iterable[str]] = {
        "in both train and query": files["train"] & files["query"],
        "in both query and database": files["query"] & files.get("database", set()),
    }
    for name, split in splits.items():
        found[f"more than once in {name}"] = [path for path, count in Counter(split.files).items() if count > 1]
    return {what: tuple(sorted(paths)) for what, paths in found.items() if paths}


def find_unlabelled(splits: Mapping[SplitName, Listed]) -> dict[str, tuple[str, ...]]:
    """Images without a label, sorted, by where they are, without empty entries; as queries they never find anything."""
    found = {}
    for name, split in splits.items():
        rows = (~split.labels.any(dim=1)).nonzero().flatten().tolist()
        found[f"without a label in {name}"] = tuple(sorted({split.paths[row] for row in rows}))
    return {what: paths for what, paths in found.items() if paths}
