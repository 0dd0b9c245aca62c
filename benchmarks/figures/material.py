"""What figures are drawn from: records of one setting, their ablations and their exhibits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ablation_table import place_ablations
from benchmarks.aggregate import ROW, ablations_of, group_by_setting, records_of, row_title, rows_of, summarise
from benchmarks.class_splits import is_class_split
from benchmarks.exhibits.store import check_run, exhibits_of
from benchmarks.intervals import Interval, interval_of_mean
from benchmarks.methods import METHODS

Record = dict[str, Any]


@dataclass(frozen=True)
class Material:
    """One setting of an experiment.

    Attributes:
        output: folder of all results.
        experiment: name.
        records: of the setting, none of an ablation.
        ablated: records of ablations that belong to it.
    """

    output: Path
    experiment: str
    records: list[Record]
    ablated: list[Record]

    def exhibits(self, part: str) -> list[tuple[Record, Record]]:
        """Record and exhibit of the runs that have one, DPQ's first, then in the order of tables, lowest seed first."""
        made = {exhibit["run"]: exhibit for exhibit in exhibits_of(self.output, self.experiment, part)}
        order = list(METHODS)

        def rank(record: Record) -> tuple[Any, ...]:
            place = order.index(record["method"])
            return record["method"] != "dpq", place, record["variant"], *repetition_of(record), record["id"]

        pairs = [(r, made[r["id"]]) for r in sorted(self.records, key=rank) if r["id"] in made]
        for record, exhibit in pairs:
            check_run(exhibit, record)
        return pairs


def first_setting(output: Path, experiment: str) -> Material:
    """The setting that the table shows first.

    Raises:
        InputError: there are no records.
    """
    groups = group_by_setting(records_of(output, experiment))
    key, records = next(iter(groups.items()))
    return Material(output, experiment, records, place_ablations(ablations_of(output, experiment), groups).get(key, []))


def repetition_of(record: Record) -> tuple[int, int]:
    """Split seed and seed."""
    return record["config"]["split_seed"], record["seed"]


def independent(pairs: Sequence[tuple[Record, Any]]) -> NDArray[np.float64]:
    """One value per independent repetition, [n, ...], from values of records.

    Seeds repeat each other; within a class split they share its images, so the split's mean stands for all of them.
    """
    groups: dict[int, list[Any]] = {}
    for record, value in pairs:
        groups.setdefault(repetition_of(record)[0 if is_class_split(record) else 1], []).append(value)
    return np.array([np.mean(groups[key], axis=0) for key in sorted(groups)], dtype=np.float64)


@dataclass(frozen=True)
class Series:
    """A row of the table, which is a curve of a figure.

    Attributes:
        title: as in the table.
        method: name.
        variant: "paper" or "released".
        training: how its lengths were trained; "ended" where one training serves all, but each of these ended at one.
        records: by code length in bits.
    """

    title: str
    method: str
    variant: str
    training: str
    records: dict[int, list[Record]]

    def values(self, bits: int, value: Callable[[Record, Record], Any]) -> NDArray[np.float64]:
        """`value` of record and entry of one length, [n, ...], one per independent repetition."""
        pairs = []
        for record in self.records[bits]:
            entry = next(entry for entry in record["lengths"] if entry["bits"] == bits)
            pairs.append((record, value(record, entry)))
        return independent(pairs)

    def interval(self, bits: int, value: Callable[[Record, Record], float]) -> Interval:
        """Mean over independent repetitions, with its interval."""
        return interval_of_mean(self.values(bits, value).tolist())

    @property
    def longest(self) -> int:
        """Bits of the longest code."""
        return max(self.records)


def series_of(records: Sequence[Record], *, whole: bool = False) -> list[Series]:
    """The rows of the table; a method that one training serves has those that ended earlier as one series of its own.

    `whole` leaves out that series and truncated codes.
    """
    by_id = {record["id"]: record for record in records}
    summary = summarise(records)
    made: dict[tuple[str, ...], Series] = {}
    for title, part in rows_of(summary):
        method, variant, settings, training, trained = (str(part[key].iloc[0]) for key in ROW)
        if training == "once" and int(trained) < int(summary["bits"].max()):
            title = f"{row_title(method, variant, training, 0)}, a training for each length"
            part = part[part["bits"] == int(trained)]
            training, trained = "ended", "any"
        row = made.setdefault(
            (method, variant, settings, training, trained), Series(title, method, variant, training, {})
        )
        for bits, joined in zip(part["bits"], part["records"], strict=True):
            row.records[int(bits)] = [by_id[one] for one in joined.split()]
    return [one for one in made.values() if not (whole and one.training in ("truncated", "ended"))]


def setting_line(records: Sequence[Record], series: Sequence[Series] = (), spread: str = "") -> str:
    """Data and setting; of `series`, how many independent repetitions they have, and where several, `spread`."""
    first = records[0]
    parts = [
        first["data"]["variant"],
        f"{first['backbone']['image_size']} pixels",
        f"{first['config']['training']['epochs']} epochs",
    ]
    if not series:
        return ", ".join(parts)
    counts = {len(one.values(bits, map_of)) for one in series for bits in one.records}
    fewest, most = min(counts), max(counts)
    plural = "s" if most > 1 else ""
    unit = f"class split{plural} (each a mean over seeds)" if is_class_split(first) else f"seed{plural}"
    parts.append(f"n = {most} {unit}" if fewest == most else f"n = {fewest} to {most} {unit}")
    return ", ".join(parts) + (f"; {spread}" if spread and most > 1 else "")


def map_of(_: Record, entry: Record) -> float:
    """MAP of a record's entry."""
    return float(entry["map"])
