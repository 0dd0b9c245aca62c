"""What the order of the database does to mAP by argsort, beside the exact value; from records and exhibits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.aggregate import row_title
from benchmarks.exhibits.store import check_run, exhibits_of
from benchmarks.methods import METHODS
from benchmarks.table_details import as_markdown


def ties_section(output: Path, experiment: str, records: Sequence[dict[str, Any]]) -> str:
    """The table under a line that says what it is; empty where no exhibit of ties is of these records."""
    by_id = {record["id"]: record for record in records}
    found = [(by_id[each["run"]], each) for each in exhibits_of(output, experiment, "ties") if each["run"] in by_id]
    found.sort(key=lambda pair: (list(METHODS).index(pair[0]["method"]), pair[0]["variant"], pair[0]["id"]))
    rows = [row for record, exhibit in found for row in _rows(record, exhibit, experiment)]
    if not rows:
        return ""
    return (
        "Ties: mAP of the same codes when equal scores stay in the order of the database, as a stable argsort leaves "
        "them, for three such orders; beside it the exact value (expected over all orders) and its bounds:\n\n"
        + as_markdown(pd.DataFrame(rows))
    )


def _rows(record: dict[str, Any], exhibit: dict[str, Any], experiment: str) -> list[dict[str, str]]:
    entries = {entry["bits"]: entry for entry in record["lengths"]}
    training = "once" if METHODS[record["method"]].progressive else "each"
    name = row_title(record["method"], record["variant"], training, 0)
    check_run(exhibit, record)
    rows = []
    for length in exhibit["lengths"]:
        entry = entries[length["bits"]]
        rows.append(
            {
                "codes": f"[{name}, seed {record['seed']}]({experiment}/runs/{record['id']}.json)",
                "bits": str(length["bits"]),
                **{order: f"{value:.4f}" for order, value in length["orders"].items()},
                "exact": f"{entry['map']:.4f}",
                "worst order": f"{entry['map_bounds'][0]:.4f}",
                "best order": f"{entry['map_bounds'][1]:.4f}",
                "distinct codes": str(entry["distinct_codes"]),
            }
        )
    return rows
