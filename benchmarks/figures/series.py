"""The curves of figures: the rows of a section's table, with one value per repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures.style import look_of
from benchmarks.records.record import Length, Record
from benchmarks.report.intervals import Interval, interval_of_mean, per_unit, repetitions
from benchmarks.report.statistics import ROW, longest_trained, row_title
from benchmarks.report.study import Section


@dataclass(frozen=True)
class Series:
    """A row of the table, which is a curve of a figure."""

    title: str  # as in the table
    method: str  # name
    variant: str  # "paper" or "released"
    training: str  # of its lengths; "ended" where one training serves all, but each of these ended at one
    records: dict[int, list[Record]]  # by code length in bits

    def values(self, bits: int, value: Callable[[Record, Length], Any]) -> NDArray[np.float64]:
        """`value` of record and what it measured at one length, [n, ...], one per repetition."""
        return per_unit((record.unit, value(record, record.at(bits))) for record in self.records[bits])

    def interval(self, bits: int) -> Interval:
        """Mean of mAP over repetitions, with its interval."""
        return interval_of_mean(self.values(bits, lambda _, length: length.map).tolist())

    @property
    def look(self) -> dict[str, Any]:
        """Arguments of its curve."""
        return look_of(self.method, self.variant, self.title, self.training)

    @property
    def longest(self) -> int:
        """Bits of the longest code."""
        return max(self.records)


def series_of(section: Section, *, whole: bool = False) -> list[Series]:
    """The rows of the table; a method that one training serves has those that ended earlier as one series of its own.

    `whole` leaves out that series and truncated codes.
    """
    by_id = {record.id: record for record in section.records}
    made: dict[tuple[str, ...], Series] = {}
    longest = longest_trained(section.summary)
    for title, part in section.rows:
        method, variant, settings, training, trained = (str(part[key].iloc[0]) for key in ROW)
        if training == "once" and int(trained) < longest[method]:
            title = f"{row_title(method, variant)}, a training for each length"
            part = part[part["bits"] == int(trained)]
            training, trained = "ended", "any"
        key = method, variant, settings, training, trained
        row = made.setdefault(key, Series(title, method, variant, training, {}))
        for bits, joined in zip(part["bits"], part["records"], strict=True):
            row.records[int(bits)] = [by_id[one] for one in joined.split()]
    return [one for one in made.values() if not (whole and one.training in ("truncated", "ended"))]


def setting_line(record: Record, series: Sequence[Series] = (), spread: str = "") -> str:
    """Data and setting; of `series`, how many repetitions they have, and where several, `spread`."""
    line = f"{record.data.variant}, {record.backbone.image_size} pixels"
    line += "" if record.tuned else f", {record.config.training.epochs} epochs"  # each method has its own
    if not series:
        return line
    averaged = [records for one in series for records in one.records.values()]
    counts = {len(set(repetitions(record.unit for record in records))) for records in averaged}
    drawn = [len({record.config.split_seed for record in records}) > 1 for records in averaged]
    fewest, most = min(counts), max(counts)
    plural = "s" if most > 1 else ""
    unit = f"seed{plural}, or splits where there are several" if any(drawn) else f"seed{plural}"
    if record.has_unseen_classes or all(drawn):
        unit = f"{'class ' if record.has_unseen_classes else ''}split{plural} (each a mean over seeds)"
    line += f", n = {most} {unit}" if fewest == most else f", n = {fewest} to {most} {unit}"
    return line + (f"; {spread}" if spread and most > 1 else "")
