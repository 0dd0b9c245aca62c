"""The papers' numbers, each with its status."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from pathlib import Path

import pandas as pd

from dpq.errors import InputError, one_line

REPORTED = Path(__file__).parents[1] / "reported" / "paper_tables.csv"

# How a table marks a value that was not read in a text of the paper itself.
OTHER_DATA = "other data"
UNKNOWN_CUT = ("imagenet100",)  # the cut of the printed mAP was not seen, so nothing is subtracted from it
MARKS = {"seen": "", "quoted": "‖", "checked": "†", "derived": "‡", "unverified": "§", OTHER_DATA: "¶"}
MEANINGS = {
    "quoted": "quoted in a reading note or an issue, not read in print",
    "checked": "transcribed without the printed page at hand; agrees with independently read facts",
    "derived": "computed from two values that were read",
    "unverified": "transcribed without the printed page and without a check",
    OTHER_DATA: "transcribed without a check, and of NUS-WIDE-81, another data set: not to be compared",
}
COLUMNS = ["dataset", "method", "bits", "map", "status", "basis"]
_ROW = re.compile(r"[^\t]+\t[^\t]+\t[1-9][0-9]{0,3}\t(0(\.[0-9]{1,9})?|1(\.0{1,9})?)\t[^\t]+\t[^\t]+")


@cache
def reported() -> pd.DataFrame:
    """All reported values: columns dataset, method, bits, map, status, basis."""
    return read_reported(REPORTED)


def read_reported(path: Path) -> pd.DataFrame:
    """The values of a file.

    Raises:
        InputError: unreadable, with other columns, or a row, named by its line, is of another form.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
        for number, row in enumerate(rows, 2):
            if list(row) != COLUMNS or None in row.values():
                raise ValueError(f"row {number} has other fields than {', '.join(COLUMNS)}")
            if not _ROW.fullmatch("\t".join(row.values())) or row["status"] not in MARKS:
                raise ValueError(f"row {number} has bits {row['bits']!r}, map {row['map']!r}, status {row['status']!r}")
        if not rows:
            raise ValueError("it has no rows")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"cannot read the reported values in {path}: {one_line(error)}; restore the file") from error
    table = pd.read_csv(io.StringIO(text), keep_default_na=False)
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
