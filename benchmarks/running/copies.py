"""Whether a copy of a data set is the published one, whole and sound; whether a folder of own images can be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate
from torch import Tensor

from benchmarks.records.reported import OTHER_DATA, reported, reported_methods
from dpq.protocols.base import SPLITS, ReadOptions, SplitName
from dpq.protocols.folder.division import divide
from dpq.protocols.folder.layout import find_images
from dpq.protocols.listed.listing import find_leaks, find_unlabelled, listed_fingerprint
from dpq.protocols.listed.load import find_copy
from dpq.protocols.store.read import Inspection
from dpq.protocols.store.write import inspect_images

_TWINS = "of the same content as another image"
SHOWN = 10  # of everything that the report names in full


@dataclass(frozen=True)
class Findings:
    """What a check of a copy found."""

    summary: Sequence[str]  # what everybody should read, line by line
    details: Mapping[str, Sequence[str]]  # titles, and under each all the images it concerns, if any
    verdict: str  # one line
    fit: bool  # the copy is the published data, and may stand beside the papers' numbers

    def text(self, shown: int | None = None) -> str:
        """The summary, with everything that is wrong, or with so many of each kind."""
        lines = list(self.summary)
        for title, images in self.details.items():
            if not images:
                continue
            lines += ["", f"{title}: {len(images)}"] + [f"  {image}" for image in images[:shown]]
            if shown is not None and len(images) > shown:
                lines.append(f"  and {len(images) - shown} more, named in the report")
        return "\n".join([*lines, "", self.verdict]) + "\n"


def check_copy(protocol: str, data_root: Path, options: ReadOptions) -> Findings:
    """Read every list and every image of a copy.

    Raises:
        InputError: the lists cannot be read, so there is nothing to check.
    """
    copy = find_copy(protocol, data_root, options)
    inspection = inspect_images(data_root, copy.files, workers=options.workers)
    usable = copy.usable(inspection.digests)
    missing, whole = copy.missing(usable), all(bool(there.all()) for there in usable.values())
    departures = copy.listing.departures()
    leaks = find_leaks(copy.listing.splits)
    details = {**leaks, **_bad_files(inspection), _TWINS: twins(copy.files, copy.rows, inspection.digests)}
    sizes = copy.listing.published.sizes
    published = {name: {"published": f"{sizes[name]:,}", "missing": f"{missing[name]:,}"} for name in SPLITS}
    summary = [
        f"{protocol} in {data_root}: {len(copy.files):,} different images",
        "",
        _splits_table("listed", {name: split.labels for name, split in copy.listing.splits.items()}, published),
        "",
        "lists: " + ("not the published ones" if departures else "as published"),
        *(f"  {line}" for line in departures),
        f"fingerprint: {listed_fingerprint(copy.rows, copy.labels, inspection.digests)}",
    ]
    fit = whole and not departures and not leaks
    if leaks:
        verdict = "not fit: queries must be in no other list, and no image twice in one; mend the lists"
    elif fit:
        verdict = (
            "fit: the published lists, whole and readable (digests of the images were never published). "
            + _beside(protocol)
        )
    else:
        lacking = sum(missing.values())
        lists = ", but its lists are not the published ones" if whole else " and of other lists" if departures else ""
        need = f"A run needs --allow-missing {lacking}, the published images that it lacks. " if lacking else ""
        verdict = (
            f"{'whole' if whole else 'incomplete'}{lists}. {need}Its records and tables say so, and stand beside no "
            "paper's numbers"
        )
    return Findings(summary, details | find_unlabelled(copy.listing.splits), verdict, fit)


def check_folder(data_root: Path, options: ReadOptions) -> Findings:
    """Read every image of a folder of one's own.

    Raises:
        InputError: it is laid out in no way that is known, or its manifest has faults.
    """
    images = find_images(data_root, options)
    inspection = inspect_images(images.root, images.files, workers=options.workers)
    division = divide(images.entries, inspection.digests, seed=0)
    layouts = {"classes": "class folders; splits are drawn", "splits": "folders of splits and classes"}
    layout = layouts.get(images.layout, "a manifest")
    summary = [
        f"{data_root}: {len(images.files):,} images of {len(images.classes)} classes, from {layout}",
        "",
        _splits_table("images", {name: images.labels[division.rows[name]] for name in SPLITS}),
        "",
        f"fingerprint: {images.fingerprint(division.rows, inspection.digests)}",
    ]
    details = {
        "classes": images.classes,
        **division.problems,
        **_bad_files(inspection),
        "left out as copies of others": [images.files[row] for row in division.left_out],
        _TWINS: twins(images.files, division.rows, inspection.digests),
        "passed over, as they are no images": images.passed_over,
    }
    lacking = len(inspection.problems)
    if division.problems:
        verdict = f"not fit: there are {', and '.join(division.problems)}"
    elif lacking:
        verdict = f"not fit as it is: replace or take away what cannot be read, or run with --allow-missing {lacking}"
    else:
        verdict = "fit: every image is readable"
    return Findings(summary, details, verdict, fit=not division.problems and not lacking)


def _bad_files(inspection: Inspection) -> dict[str, Sequence[str]]:
    """Files that cannot be used, by what is wrong with them."""
    problems = inspection.problems.items()
    return {
        "missing": [name for name, reason in problems if reason == "missing"],
        "unreadable": [f"{name}: {reason}" for name, reason in problems if reason != "missing"],
    }


def twins(files: Sequence[str], rows: Mapping[SplitName, Tensor], digests: Sequence[str | None]) -> list[str]:
    """Files with the bytes of an earlier one; those that a query shares with a training image are marked.

    Args:
        files: of all splits.
        rows: [n] int64 of each split, positions in `files`.
        digests: SHA-256 of each file; None where it cannot be used.
    """
    split_of: dict[int, set[str]] = {}
    for name in SPLITS:
        for row in rows[name].tolist():
            split_of.setdefault(row, set()).add(name)
    first: dict[str, int] = {}
    found = []
    for row, digest in enumerate(digests):
        if digest is None or (earlier := first.setdefault(digest, row)) == row:
            continue
        both = split_of.get(row, set()) | split_of.get(earlier, set())
        leak = " (a query and a training image)" if {"train", "query"} <= both else ""
        found.append(f"{files[row]} = {files[earlier]}{leak}")
    return found


def _splits_table(
    counted: str, labels: Mapping[SplitName, Tensor], further: Mapping[SplitName, Mapping[str, str]] | None = None
) -> str:
    """A line for each split: its images, under the title `counted`, what there is `further`, and its labels [N, L]."""
    rows = []
    for name, of_images in labels.items():
        counts = of_images.sum(dim=0)
        rows.append(
            {
                "split": name,
                counted: f"{len(of_images):,}",
                **(further[name] if further else {}),
                "labels per image": f"{int(of_images.sum()) / max(1, len(of_images)):.2f}",
                "images per class": f"{int(counts.min()):,} to {int(counts.max()):,}",
            }
        )
    return str(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))


def _beside(protocol: str) -> str:
    table = reported()
    of_others = set(table[(table.dataset == protocol) & (table.status == OTHER_DATA)].method)
    rows = [name for name in reported_methods(protocol) if name not in of_others]
    if not rows:
        return "No printed numbers are known for these lists"
    return f"Results may stand beside the printed rows of {', '.join(rows)}"
