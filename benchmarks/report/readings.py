"""Two readings of one setting: each method at what its study chose (equal budgets), and all alike (equal terms)."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd

from benchmarks.records.record import BUDGETS, TERMS, Record
from benchmarks.report.statistics import ROW, longest_trained, settings_key
from benchmarks.report.study import Section
from benchmarks.setting.experiment import flat
from benchmarks.setting.methods import METHODS, studied
from dpq.files.places import is_file


def chosen(section: Section, results: str) -> list[dict[str, str]]:
    """What studies chose, a row for each; none at equal terms.

    Args:
        section: of one reading.
        results: the way from the page to the folder of results, which ends in a slash if it is not empty.
    """
    rows: dict[tuple[str, ...], None] = {}
    for record in section.records:
        if record.tuned is None:
            continue
        name, study = record.tuned.study, f"studies/{section.experiment}/{record.tuned.study}.json"
        link = f"[{name}]({results}{study})" if is_file(section.output / study) else f"`{study}`"
        rows[METHODS[studied(record.method)].title, _chosen(record), link] = None
    return [dict(zip(("method", "chosen (shared)", "trials"), row, strict=True)) for row in rows]


def _chosen(record: Record) -> str:
    """The settings of a tuned run that are others than before, each with what it was."""
    shared, own = record.raw["tuned"]["shared"], record.raw["config"]
    before, after = flat(shared), flat({key: value for key, value in own.items() if key in shared})
    changed = [path for path in {**after, **before} if after.get(path) != before.get(path) and "sha256" not in path]
    names = ["label vectors" if path.startswith("label_vectors") else path.rpartition(".")[2] for path in changed]
    values = [f"{after.get(path, 'as by default')} ({before.get(path, 'none')})" for path in changed]
    return "; ".join(map(" ".join, zip(names, values, strict=True))) or "as shared"


def _whole(section: Section) -> list[tuple[str, pd.DataFrame, Record]]:
    """The rows of whole codes: title, part of the summary, and a record."""
    by_id = {record.id: record for record in section.records}
    longest = longest_trained(section.table)
    return [
        (title, part, by_id[part["records"].iloc[0].split()[0]])
        for title, part in section.rows
        if part["training"].iloc[0] == "each" or part["trained_bits"].iloc[0] == longest[str(part["method"].iloc[0])]
        if part["training"].iloc[0] != "truncated"
    ]


def _both(section: Section) -> list[tuple[str, float, float]]:
    """Rows of equal budgets beside those that they started from: title, and mAP of both, means over common lengths."""
    other = section.other
    if section.reading != BUDGETS or other is None:
        return []
    started = {_key(part): part.set_index("bits")["map"] for _, part, _ in _whole(other)}
    found = []
    for title, part, record in _whole(section):
        before = started.get(_key(part.assign(method_settings=settings_key(record, untuned=True))))
        if before is not None and set(before.index) & set(part["bits"]):
            tuned, shared = pd.concat([part.set_index("bits")["map"], before], axis=1, join="inner").mean()
            found.append((title, float(tuned), float(shared)))
    return found


def _key(part: pd.DataFrame) -> tuple[Any, ...]:
    return tuple(part[ROW].iloc[0])


def reading_notes(section: Section) -> str:
    """What tuning gained for whom, and whether the order of methods depends on the reading; empty at equal terms."""
    both = _both(section)
    if not both:
        return ""
    gains = "; ".join(f"{title} {tuned - shared:+.3f}" for title, tuned, shared in both)
    notes = [f"Tuning gained (mAP at {BUDGETS} minus that at {TERMS}, means over lengths): {gains}."]
    ranked = sorted(both, key=lambda row: -row[1])
    swapped = [
        (above, below) for above, below in combinations(ranked, 2) if above[1] > below[1] and above[2] < below[2]
    ]
    if len(both) > 1 and not swapped:
        notes.append(f"The order of methods is the same in both readings: {', '.join(row[0] for row in ranked)}.")
    if swapped:
        said = "; ".join(
            f"{above[0]} above {below[0]} at {BUDGETS} ({above[1]:.3f} and {below[1]:.3f}), below at {TERMS} "
            f"({above[2]:.3f} and {below[2]:.3f})"
            for above, below in swapped
        )
        notes.append(f"The order of methods depends on the reading: {said}.")
    return " ".join(notes)
