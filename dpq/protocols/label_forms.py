"""The ways in which list files write labels at the end of a line, after the path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile

LabelForm = Callable[[str], tuple[str, str]]
"""Splits a line into its path and one '0' or '1' a class; a ValueError says what is wrong with the line.

Fields count from the end, so that paths may hold blanks; a path that ends like a label is refused.
"""


def bits(classes: int) -> LabelForm:
    """One field of 0 or 1 for each of the classes, as in `a/b.jpg 0 1 0`."""

    def split(line: str) -> tuple[str, str]:
        path, *fields = line.rsplit(None, classes)
        row = "".join(fields)
        if len(fields) != classes or len(row) != classes or row.strip("01") or _ends_in_bit(path):
            raise ValueError(_miscounted(line, classes))
        return path, row

    return split


def column(classes: int) -> LabelForm:
    """The one column that is set, 0 to `classes` - 1, as in `a/b.jpg 1`."""
    return mapped({i: i for i in range(classes)}, f"the columns 0..{classes - 1}")


def mapped(columns: Mapping[int, int], known: str) -> LabelForm:
    """One number that stands for a column, as in `a/b.jpg 339`.

    Args:
        columns: column of each number; the values are 0..L-1.
        known: what the numbers are, for messages.
    """
    rows = {str(number): _one_hot(at, len(columns)) for number, at in columns.items()}

    def split(line: str) -> tuple[str, str]:
        path, *fields = line.rsplit(None, 1)
        if not fields:
            raise ValueError(f"{line!r} has no label; needs a path and one number")
        if path.rsplit(None, 1)[-1].isdigit():
            raise ValueError(f"{line!r} ends in several numbers; needs a path and one number")
        row = rows.get(fields[0])
        if row is None:
            raise ValueError(f"label {fields[0]!r} is not among {known}")
        return path, row

    return split


def column_or_one_hot(classes: int) -> LabelForm:
    """Either `column`, or `bits` of which exactly one is set."""
    by_column, by_bits = column(classes), bits(classes)

    def split(line: str) -> tuple[str, str]:
        if not _ends_in_bit(line.rsplit(None, 1)[0]):
            return by_column(line)
        path, row = by_bits(line)
        if row.count("1") != 1:
            raise ValueError(f"has {row.count('1')} of {classes} bits set; needs exactly one")
        return path, row

    return split


def _one_hot(at: int, classes: int) -> str:
    return "0" * at + "1" + "0" * (classes - at - 1)


def _ends_in_bit(path: str) -> bool:
    """Whether the last field of the path is a bit, so that nobody knows where the labels start."""
    return path.endswith(("0", "1")) and path.rsplit(None, 1)[-1] in ("0", "1")


def _miscounted(line: str, classes: int) -> str:
    fields = line.split()
    found = sum(1 for _ in takewhile(("0", "1").__contains__, reversed(fields)))
    before = fields[-1 - found] if found < len(fields) else ""
    return f"ends in {found} bits (0 or 1) after {before!r}; needs a path and {classes} bits"
