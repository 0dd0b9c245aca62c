"""The metrics of brought codes, computed as those of our own runs, and their record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.brought.codes import BroughtCodes
from benchmarks.records.raw import RawResult, run_of, write_raw
from benchmarks.records.record import SCHEMA_VERSION, Brought, Kind, Ranked, brought_id
from benchmarks.records.store import record_path, write_brought
from benchmarks.report.intervals import interval_of_mean
from benchmarks.running.environment import describe_environment
from benchmarks.running.evaluation import evaluate_lengths
from benchmarks.running.loading import described
from benchmarks.running.locks import locked, record_lock
from dpq.codes.additive import levels_for
from dpq.errors import InputError
from dpq.files.atomic import sweep
from dpq.learning.settings import RankedBy
from dpq.protocols.base import Dataset

_FLOAT = 32  # bits of a dimension of embeddings


def score_codes(
    given: BroughtCodes,
    name: str,
    dataset: Dataset,
    split_seed: int,
    *,
    score: RankedBy | None = None,
    bits: Sequence[int] | None = None,
    experiment: str,
    output: Path,
) -> tuple[Brought, Path]:
    """Rank the database of a data set by brought codes, and write the record and, beside it, the codes.

    Args:
        given: as `read_codes` has them.
        name: what tables call them.
        dataset: whose images they are of.
        split_seed: of its draw.
        score: as for `evaluate_lengths`, None for "inner"; binary codes are ranked by Hamming distance.
        bits: lengths of prefixes; None for the code as it is.
        experiment: whose records this one stands beside.
        output: folder of results.

    Returns:
        The record, and its path.

    Raises:
        InputError: other images, lengths or scores than the codes have.
    """
    kind = given.origin.kind
    _check_asked(given, score, bits)
    raw = given.raw(dataset, bits or ())
    whole = raw.codes.shape[1] * (raw.codebooks.shape[1].bit_length() - 1)
    lengths = sorted(set(bits or [whole]))
    for length in lengths:
        if levels_for(length, raw.codebooks.shape[1]) > raw.codes.shape[1]:
            raise InputError(f"the codes have {whole} bits, so no prefix of {length}; give fewer --bits")
    data = described(dataset)
    table: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": "",
        "experiment": experiment,
        "protocol": dataset.protocol,
        "name": name,
        "brought": vars(given.origin),
        "split_seed": split_seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "score": score or "inner",
        "ap_denominator": dataset.denominator,
        "cut": dataset.cut,
        **({"further_cuts": list(dataset.further_cuts)} if dataset.further_cuts else {}),
    }
    measured, averages = measure(
        raw, kind, lengths, dataset.cut, score or "inner", dataset.further_cuts, data.get("coarse", ())
    )
    table |= as_measured(measured, averages)
    table["queries_without_relevant"] = measured[0].queries_without_relevant
    table["environment"] = describe_environment(torch.device("cpu"))
    table["id"] = brought_id(table)
    path = record_path(output, experiment, table["id"])
    with locked(record_lock(path)):
        for file in (path, path.with_suffix(".npz")):
            sweep(file)
        write_raw(path.with_suffix(".npz"), replace(raw, run=run_of(table), average_precision=averages))
        return write_brought(path, table), path


def _check_asked(given: BroughtCodes, score: RankedBy | None, bits: Sequence[int] | None) -> None:
    """Refuse what the form of the codes does not have."""
    kind = given.origin.kind
    if kind == "binary" and score is not None:
        raise InputError("binary codes are ranked by Hamming distance; leave --score out")
    if score == "symmetric" and "query_codes" not in given.arrays:
        raise InputError(
            "--score symmetric needs the array query_codes [Q, M] beside codes and codebooks; add it, or rank by inner "
            "or l2"
        )
    if kind == "embeddings" and bits is not None:
        raise InputError("embeddings have no code lengths; leave --bits out")


def measure(
    raw: RawResult,
    kind: Kind,
    bits: Sequence[int],
    cut: int | None,
    score: RankedBy,
    further_cuts: Sequence[int] = (),
    coarse: Sequence[str] = (),
) -> tuple[list[Ranked], NDArray[np.float32]]:
    """What codes of each length measure, and average precision by length and query, [T, Q].

    Args:
        raw: the codes.
        kind: of embeddings, the one length is that of their float32, whatever `bits` say.
        bits: lengths.
        cut: as this and all others for `evaluate_lengths`.
        score: as above.
        further_cuts: as above.
        coarse: as above.
    """
    exact = 8 * raw.codes.shape[1]
    unknown = dict.fromkeys([exact] if kind == "embeddings" else bits, 0.0)  # nobody has brought what was encoded
    lengths, averages = evaluate_lengths(
        raw, unknown, cut, score, "float32", further_cuts=further_cuts, coarse=coarse, progress=True
    )
    own = _FLOAT * raw.codebooks.shape[2]
    said = {"bits": own, "bytes_per_image": own / 8} if kind == "embeddings" else {}
    ranked = [Ranked(**{one.name: getattr(each, one.name) for one in fields(Ranked)} | said) for each in lengths]
    return ranked, averages


def as_measured(lengths: Sequence[Ranked], averages: NDArray[np.float32]) -> dict[str, Any]:
    """The part of a record that says what was measured: lengths, and intervals of mAP over the queries."""
    intervals = [interval_of_mean(row.astype(np.float64).tolist()) for row in averages]
    ends = [(one.low, one.high) for one in intervals]
    return {
        "lengths": [length.table for length in lengths],
        "intervals": [None if a is None or b is None else [max(a, 0.0), min(b, 1.0)] for a, b in ends],
    }


def measure_again(
    record: Brought, raw: RawResult, score: RankedBy | None = None
) -> tuple[list[Ranked], NDArray[np.float32]]:
    """What the codes beside a record measure, by its own score or by another.

    Raises:
        InputError: they are of another record, or have no such score.
    """
    if raw.run != run_of(record.raw):
        raise InputError(f"the codes beside {record.id} are of another record, {raw.run}; score them again")
    return measure(
        raw,
        record.brought.kind,
        [length.bits for length in record.lengths],
        record.cut,
        score or record.score,
        record.further_cuts,
        record.data.coarse,
    )
