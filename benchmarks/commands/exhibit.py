"""`exhibit`: the small files that figures and tables show beside a record's numbers."""

from __future__ import annotations

import argparse

from benchmarks.commands import Command
from benchmarks.exhibits import PARTS
from benchmarks.setting.options import Option, shared


def run(options: argparse.Namespace) -> None:
    """Make the exhibits that are not there."""
    from benchmarks.exhibits.make import Images, check_parts, make, paths_of
    from benchmarks.records.raw import check_fits, read_raw
    from benchmarks.records.store import read_record
    from dpq.files.places import exists
    from dpq.protocols import ReadOptions

    parts = check_parts(options.parts)
    images = Images(options.data_root, ReadOptions(strip_prefix=options.strip_prefix, workers=options.workers))
    for path, places in [(path, paths_of(path, parts)) for path in options.records]:
        there = [] if options.force else [part for part, place in places.items() if exists(place)]
        for part in there:
            print(f"{places.pop(part)}: exists (--force makes it anew)")
        if not places:
            continue
        record, raw = read_record(path), read_raw(path.with_suffix(".npz"))
        check_fits(raw, record)
        if set(places) != {"ties"}:
            images.of(record)  # images that cannot be had are refused before anything slow
        for part, place in places.items():
            make(place, part, record, raw, images)
            print(place)


COMMAND = Command(
    "exhibit",
    run,
    [
        *shared("records", "--data-root", "--strip-prefix", "--workers"),
        Option("--parts", f"of {', '.join(PARTS)} (default: all of them)", "PART", default=PARTS, count="+"),
        Option("--force", "make those anew that exist"),
    ],
    "finished exhibits are kept; the same command makes the others",
    "make small files from the stored codes and the images, so that figures no longer need those",
    "Write <output>/<experiment>/exhibits/<id>-PART.json beside the records, small enough to commit. ties: mAP by a "
    "plain argsort with the database in three orders. projection: t-SNE of 1,000 database images, reconstructed at "
    "every code length. gallery: the ten nearest images of five queries at every length, with a PNG of all of them. "
    "One that exists is not made again. The raw codes <id>.npz must lie beside the record; projection and gallery need "
    "the data set as well.",
)
