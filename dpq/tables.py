"""A dataclass from a table that nobody vouches for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_table(kind: type[T], table: Any, where: str) -> T:
    """A dataclass whose every field stands in the table, and nothing else.

    Fields are of bool, int, float, str, a `Literal` of texts, a tuple of numbers or texts, or another dataclass.

    Args:
        kind: the dataclass.
        table: from JSON.
        where: what messages call the table.

    Raises:
        ValueError: a key is unknown or missing, or a value is of another type.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} is no table")
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if odd := sorted(table.keys() ^ set(names)):
        raise ValueError(f"{where} {'has an unknown' if odd[0] in table else 'lacks the'} key {odd[0][:40]!r}")
    return kind(**{name: _value(hints[name], table[name], f"{where}.{name}") for name in names})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_table(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, list):
        each = get_args(hint)
        kinds = [each[0]] * len(value) if each[-1] is Ellipsis else list(each)
        if len(kinds) == len(value):
            return tuple(_value(kind, one, where) for kind, one in zip(kinds, value, strict=True))
    elif get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
    elif hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif hint is not float and type(value) is hint:
        return value
    raise ValueError(f"{where} cannot be {str(value)[:40]!r}")
