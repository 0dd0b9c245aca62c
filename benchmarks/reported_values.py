"""The papers' numbers, each with its status."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

REPORTED = Path(__file__).parent / "reported" / "paper_tables.csv"

# How a table marks a value that was not read in a text of the paper itself.
OTHER_DATA = "other data"
UNKNOWN_CUT = ("imagenet100",)  # the cut of the printed mAP was not seen, so nothing is subtracted from it
MARKS = {"seen": "", "checked": "†", "derived": "‡", "unverified": "§", OTHER_DATA: "¶"}
MEANINGS = {
    "checked": "transcribed without the printed page at hand; agrees with independently read facts",
    "derived": "computed from two values that were read",
    "unverified": "transcribed without the printed page and without a check",
    OTHER_DATA: "transcribed without a check, and of NUS-WIDE-81, another data set: not to be compared",
}


@cache
def reported() -> pd.DataFrame:
    """All reported values: columns dataset, method, bits, map, status, basis."""
    table = pd.read_csv(REPORTED)
    table.loc[table.basis.str.contains("NUS-WIDE-81"), "status"] = OTHER_DATA
    return table


def reported_value(dataset: str, method: str, bits: int) -> tuple[float, str] | None:
    """The paper's mAP and its status, or None where it is missing."""
    table = reported()
    rows = table[(table.dataset == dataset) & (table.method == method) & (table.bits == bits)]
    return None if rows.empty else (float(rows["map"].iloc[0]), str(rows["status"].iloc[0]))


def reported_methods(dataset: str) -> list[str]:
    """Methods with at least one value on a data set, in the order of the file."""
    table = reported()
    return list(dict.fromkeys(table[table.dataset == dataset].method))


def marked(value: tuple[float, str] | None) -> str:
    """A reported value as a table prints it: three decimals and the mark of its status."""
    return "missing" if value is None else f"{value[0]:.3f}{MARKS[value[1]]}"
