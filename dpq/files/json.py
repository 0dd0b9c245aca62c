"""JSON that nobody vouches for: bounded, finite, and without what readers disagree about."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

# Once pairs of backslashes are gone: a high half without a low one behind it, or a low half without a high one before.
_HALF = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
MOST_BYTES = 64 << 20  # of a file; the largest of a record or exhibit has 60 kB


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, nested too deeply, a number that is not finite, or a key that stands twice.
    """
    try:
        return json.loads(text, parse_constant=_constant, parse_float=_finite, object_pairs_hook=_table)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """The value of a JSON file in UTF-8.

    Raises:
        ValueError: as for `parse_json`; or too large, no UTF-8, or with half a surrogate pair, which nobody can write.
        OSError: it cannot be read.
    """
    text = read_text(path, MOST_BYTES)
    if _HALF.search(text.replace("\\\\", " ")):
        raise ValueError("it has half a surrogate pair")
    return parse_json(text)


def read_text(path: Path, most: int) -> str:
    """The text of a UTF-8 file of at most so many bytes.

    Raises:
        ValueError: too large, or no UTF-8.
        OSError: it cannot be read.
    """
    return read_bounded(path, most).decode("utf-8")


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a file of at most so many bytes.

    Raises:
        ValueError: it is larger.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} stands twice")
        table[key] = value
    return table
