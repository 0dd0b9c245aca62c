"""`evaluate`: every ranking metric again, from the stored codes."""

from __future__ import annotations

import argparse

from benchmarks.commands import Command
from benchmarks.setting.options import shared
from dpq.errors import InputError


def run(options: argparse.Namespace) -> None:
    """Compute the metrics; a record that differs is renewed.

    Raises:
        InputError: codes that do not fit, or another process has written a record since it was read.
    """
    from benchmarks.records.raw import check_fits, read_raw
    from benchmarks.records.store import read_record, write_record
    from benchmarks.running.evaluation import differ, evaluate_again
    from benchmarks.running.locks import locked, record_lock
    from dpq.files.atomic import sweep

    for path in options.records:
        record = read_record(path, renewing=True)
        raw = read_raw(path.with_suffix(".npz"))
        check_fits(raw, record)
        lengths = evaluate_again(record, raw)
        renewed = [old | new.table for old, new in zip(record.raw["lengths"], lengths, strict=True)]
        changed = differ(renewed, record.raw["lengths"])
        if changed:
            table = record.raw | {"lengths": renewed}
            with locked(record_lock(path)):
                if read_record(path, renewing=True).raw not in (record.raw, table):
                    raise InputError(f"{path} was written by another process meanwhile; evaluate it again")
                sweep(path)
                write_record(path, table)
        for old, new in zip(record.lengths, lengths, strict=True):
            print(f"{record.id} {new.bits} bits: mAP {new.map:.6f} (was {old.map:.6f})")
        print(f"{path}: {'renewed' if changed else 'unchanged'}")


COMMAND = Command(
    "evaluate",
    run,
    shared("records"),
    "records are whole, renewed or as they were; the same command does all of them",
    "compute every ranking metric again from the stored codes, and renew the records",
)
