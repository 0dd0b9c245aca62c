"""Whether a copy of a data set is the published one, whole and sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from benchmarks.reported_values import OTHER_DATA, reported, reported_methods
from dpq.protocols.base import ReadOptions
from dpq.protocols.image_store import Inspection, inspect_images
from dpq.protocols.listed import Copy, find_copy
from dpq.protocols.listing import SPLITS, Listing, SplitName, find_defects

_WHOLE = "fit: the published lists, whole and readable (digests of the images were never published)"
SHOWN = 10  # of everything that the report names in full


@dataclass(frozen=True)
class Findings:
    """What a check of a copy found.

    Attributes:
        summary: what everybody should read, line by line.
        details: titles, and under each all the images it concerns.
        verdict: one line.
        fit: the copy is the published data, and may stand beside the papers' numbers.
    """

    summary: Sequence[str]
    details: Mapping[str, Sequence[str]]
    verdict: str
    fit: bool

    def screen(self) -> str:
        """The summary, with the first of everything that is wrong."""
        return self._text(SHOWN)

    def report(self) -> str:
        """The summary, with everything that is wrong."""
        return self._text(None)

    def _text(self, shown: int | None) -> str:
        lines = list(self.summary)
        for title, images in self.details.items():
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
    defects = find_defects(copy.listing.train, copy.listing.query, copy.listing.database)
    details = defects.leaks() | _bad_files(copy, inspection) | defects.without_label()
    summary = [
        f"{protocol} in {data_root}: {len(copy.files):,} different images",
        "",
        _splits_table(copy.listing, missing),
        "",
        "lists: " + ("not the published ones" if departures else "as published"),
        *(f"  {line}" for line in departures),
        f"fingerprint: {copy.fingerprint(inspection.digests)}",
    ]
    fit = whole and not departures and not defects.leaks()
    if defects.leaks():
        verdict = "not fit: queries must be in no other list, and no image twice in one; mend the lists"
    elif fit:
        verdict = f"{_WHOLE}. {_beside(protocol)}"
    else:
        verdict = _unfit(sum(missing.values()), whole, bool(departures))
    return Findings(summary, details, verdict, fit)


def _bad_files(copy: Copy, inspection: Inspection) -> dict[str, Sequence[str]]:
    """Files by what is wrong with them; without empty entries."""
    problems = inspection.problems.items()
    found = {
        "missing": [name for name, reason in problems if reason == "missing"],
        "unreadable": [f"{name}: {reason}" for name, reason in problems if reason != "missing"],
        "of the same content as another image": twins(copy.files, copy.rows, inspection.digests),
    }
    return {what: files for what, files in found.items() if files}


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


def _splits_table(listing: Listing, missing: Mapping[SplitName, int]) -> str:
    rows = []
    for name in SPLITS:
        split, counts = listing.split(name), listing.split(name).labels.sum(dim=0)
        rows.append(
            {
                "split": name,
                "listed": f"{len(split):,}",
                "published": f"{listing.published.sizes[name]:,}",
                "missing": f"{missing[name]:,}",
                "labels per image": f"{int(split.labels.sum()) / len(split):.2f}",
                "images per class": f"{int(counts.min()):,} to {int(counts.max()):,}",
            }
        )
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def _unfit(lacking: int, whole: bool, departing: bool) -> str:
    """What keeps a copy from being the published data, and what a run on it needs."""
    what = "whole" if whole else "incomplete"
    lists = ", but its lists are not the published ones" if whole else " and of other lists" if departing else ""
    need = f"A run needs --allow-missing {lacking}, the published images that it lacks. " if lacking else ""
    return f"{what}{lists}. {need}Its records and tables say so, and stand beside no paper's numbers"


def _beside(protocol: str) -> str:
    table = reported()
    of_others = set(table[(table.dataset == protocol) & (table.status == OTHER_DATA)].method)
    rows = [name for name in reported_methods(protocol) if name not in of_others]
    if not rows:
        return "No printed numbers are known for these lists"
    return f"Results may stand beside the printed rows of {', '.join(rows)}"
