"""`evaluate`: every ranking metric again, from the stored codes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

from benchmarks.commands import Command
from benchmarks.setting.options import Option, shared
from dpq.cli.parser import one_of
from dpq.errors import InputError
from dpq.learning.settings import RankedBy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.records.raw import RawResult
    from benchmarks.records.record import Brought, Ranked, Record

SCORES = get_args(RankedBy)
AGREES = 1e-3  # how far mAP of a compact file may be from the record's; of 1,000 queries it is by some 1e-6


def run(options: argparse.Namespace) -> None:
    """Compute the metrics and renew a record that differs, or write compact files.

    Raises:
        InputError: codes that do not fit, a compact file that does not give the record's numbers, or another process
            has written a record since it was read.
    """
    from benchmarks.records.raw import COMPACT
    from benchmarks.records.record import Brought
    from benchmarks.records.store import read_measured
    from dpq.files.places import is_file

    for path in options.records:
        record = read_measured(path, renewing=True)
        full, compact = path.with_suffix(".npz"), path.with_suffix(COMPACT)
        if options.score:
            _rank_by(options.score, record, full if is_file(full) else compact)
        elif isinstance(record, Brought):
            if options.compact:
                raise InputError(f"{path} is of brought codes, which have no compact form; leave --compact out")
            print(f"{path}: {'renewed' if _renew(record, path, full) else 'unchanged'}")
        elif options.compact:
            _write_compact(record, full, compact)
            print(f"{compact}: {compact.stat().st_size / 1000:.0f} kB")
        elif is_file(compact) and not is_file(full):
            _compare(record, compact)
            print(f"{path}: agrees with {compact.name}; only {full.name} renews it")
        else:
            changed = _renew(record, path, full)
            print(f"{path}: {'renewed' if changed else 'unchanged'}")


def _measured(
    record: Record | Brought, raw: RawResult, score: RankedBy | None = None
) -> tuple[dict[str, Any], Sequence[Ranked], NDArray[Any]]:
    """The part of a record's table that says what was measured, lengths and average precisions, from its codes."""
    from benchmarks.brought.score import as_measured, measure_again
    from benchmarks.records.raw import check_fits
    from benchmarks.records.record import Brought
    from benchmarks.running.evaluation import evaluate_again

    if isinstance(record, Brought):
        brought, averages = measure_again(record, raw, score)
        return as_measured(brought, averages), brought, averages
    check_fits(raw, record)
    lengths, averages = evaluate_again(record, raw, score)
    old = record.raw["lengths"]
    return {"lengths": [one | new.table for one, new in zip(old, lengths, strict=True)]}, lengths, averages


def _rank_by(score: RankedBy, record: Record | Brought, stored: Path) -> None:
    """Print mAP of the stored codes by a score, beside that of the record."""
    from benchmarks.records.raw import read_raw

    for old, new in zip(record.lengths, _measured(record, read_raw(stored), score)[1], strict=True):
        print(f"{record.id} {new.bits} bits: mAP {new.map:.6f} by {score} (record, by {record.score}: {old.map:.6f})")


def _renew(record: Record | Brought, path: Path, full: Path) -> bool:
    """Write the record where its metrics differ, and the average precisions where theirs do; whether the first."""
    import numpy as np

    from benchmarks.records.raw import read_raw, write_raw
    from benchmarks.records.record import Brought
    from benchmarks.records.store import read_measured, write_brought, write_record
    from benchmarks.running.evaluation import differ
    from benchmarks.running.locks import locked, record_lock
    from dpq.files.atomic import sweep

    raw = read_raw(full)
    renewed, lengths, averages = _measured(record, raw)
    changed, known = differ(renewed, {key: record.raw[key] for key in renewed}), raw.average_precision
    outdated = known is None or not np.allclose(known, averages, rtol=0, atol=1e-6)
    if changed or outdated:
        table = record.raw | renewed
        with locked(record_lock(path)):
            if read_measured(path, renewing=True).raw not in (record.raw, table):
                raise InputError(f"{path} was written by another process meanwhile; evaluate it again")
            sweep(path)
            sweep(full)
            if outdated:
                write_raw(full, replace(raw, average_precision=averages))
            if changed:
                (write_brought if isinstance(record, Brought) else write_record)(path, table)
    for old, new in zip(record.lengths, lengths, strict=True):
        print(f"{record.id} {new.bits} bits: mAP {new.map:.6f} (was {old.map:.6f})")
    return changed


def _write_compact(record: Record, full: Path, compact: Path) -> None:
    """Write the compact form of a raw result, once it gives the record's numbers.

    Raises:
        InputError: it does not; or codes are no sums of codewords, and what they decode to would fill the file.
    """
    from benchmarks.records.raw import check_fits, read_raw, run_of, write_raw
    from benchmarks.running.evaluation import evaluate_again
    from dpq.files.atomic import write_atomically

    raw = read_raw(full)
    check_fits(raw, record)
    if raw.reconstructions is not None:
        raise InputError(
            f"{full.name} holds {raw.reconstructions.nbytes / 1e6:.0f} MB of reconstructions, as codes of "
            f"{record.method} are no sums of codewords; it has no compact form"
        )
    if raw.average_precision is None:
        raw = replace(raw, average_precision=evaluate_again(record, raw)[1])
    with TemporaryDirectory() as folder:
        made = Path(folder, compact.name)
        write_raw(made, replace(raw, run=run_of(record.raw)))
        _compare(record, made)
        write_atomically(compact, made.read_bytes())


def _compare(record: Record, compact: Path) -> None:
    """Refuse a compact file that does not give the mAP of its record, by its codes and by its average precisions."""
    from benchmarks.records.raw import check_fits, read_raw
    from benchmarks.running.evaluation import evaluate_again

    raw = read_raw(compact)
    check_fits(raw, record)
    lengths, averages = evaluate_again(record, raw)
    kept = averages if raw.average_precision is None else raw.average_precision
    for old, new, each in zip(record.lengths, lengths, kept, strict=True):
        print(f"{record.id} {new.bits} bits: mAP {new.map:.6f} from {compact.name} (record: {old.map:.6f})")
        if max(abs(new.map - old.map), abs(float(each.mean(dtype=float)) - old.map)) > AGREES:
            raise InputError(
                f"{compact.name} does not give the mAP of {record.id} within {AGREES} at {new.bits} bits; evaluate "
                "the record from its full raw codes, then write the compact file again with --compact"
            )


COMMAND = Command(
    "evaluate",
    run,
    [
        *shared("records"),
        Option(
            "--score",
            "renew nothing, but print mAP of the same codes ranked by this score, beside that of the record",
            "|".join(SCORES),
            one_of("score", SCORES),
        ),
        Option(
            "--compact",
            "renew nothing, but write the raw codes in a compact form beside the record, <id>.npz.xz, to be committed",
        ),
    ],
    "records are whole, renewed or as they were; the same command does all of them",
    "compute every ranking metric again from the stored codes, and renew the records",
    "Compute every ranking metric again from the raw codes beside a record, and renew the record. Where only their "
    "compact form is there, which is in half precision, mAP is compared with the record's within 0.001.",
)
