"""Whether a folder of one's own images can be used, and which of its images train, ask and are searched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.check_data import Findings, twins
from dpq.protocols.base import ReadOptions
from dpq.protocols.division import Division, divide
from dpq.protocols.folder import OwnImages, find_images
from dpq.protocols.image_store import Inspection, inspect_images
from dpq.protocols.listing import SPLITS

_FROM = {
    "classes": "class folders; splits are drawn",
    "splits": "folders of splits and classes",
    "manifest": "a manifest",
}


def check_folder(data_root: Path, options: ReadOptions) -> Findings:
    """Read every image of a folder.

    Raises:
        InputError: it is laid out in no way that is known, or its manifest has faults.
    """
    images = find_images(data_root, options)
    inspection = inspect_images(images.root, images.files, workers=options.workers)
    division = divide(images.entries, inspection.digests, seed=0)
    summary = [
        f"{data_root}: {len(images.files):,} images of {len(images.classes)} classes, from {_FROM[images.layout]}",
        "",
        _splits_table(images, division),
        "",
        f"fingerprint: {images.fingerprint(division.rows, inspection.digests)}",
    ]
    lacking = len(inspection.problems)
    if division.problems:
        verdict = f"not fit: there are {', and '.join(division.problems)}"
    elif lacking:
        verdict = f"not fit as it is: replace or take away what cannot be read, or run with --allow-missing {lacking}"
    else:
        verdict = "fit: every image is readable"
    fit = not division.problems and not lacking
    return Findings(summary, _details(images, inspection, division), verdict, fit)


def _details(images: OwnImages, inspection: Inspection, division: Division) -> dict[str, Sequence[str]]:
    """Everything that is wrong or was passed over, by title; without empty entries."""
    problems = inspection.problems.items()
    found = {
        "classes": images.classes,
        **division.problems,
        "missing": [name for name, reason in problems if reason == "missing"],
        "unreadable": [f"{name}: {reason}" for name, reason in problems if reason != "missing"],
        "left out as copies of others": [images.files[row] for row in division.left_out],
        "of the same content as another image": twins(images.files, division.rows, inspection.digests),
        "passed over, as they are no images": images.passed_over,
    }
    return {what: names for what, names in found.items() if names}


def _splits_table(images: OwnImages, division: Division) -> str:
    rows = []
    for name in SPLITS:
        labels = images.labels[division.rows[name]]
        counts = labels.sum(dim=0)
        rows.append(
            {
                "split": name,
                "images": f"{len(labels):,}",
                "labels per image": f"{int(labels.sum()) / max(1, len(labels)):.2f}",
                "images per class": f"{int(counts.min()):,} to {int(counts.max()):,}",
            }
        )
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))
