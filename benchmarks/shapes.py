"""What a JSON value must look like, put together from small checks; the first thing that is wrong is named."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]
"""Takes a value and its place, as in `lengths[0].map`; a ValueError says on one line what is wrong there."""


def refuse(place: str, wanted: str, value: Any) -> None:
    """Say what a place must hold, and what it holds."""
    found = repr(value)
    raise ValueError(f"{place} must be {wanted}; got {found if len(found) < 60 else found[:57] + '...'}")


def number(least: float = -math.inf, most: float = math.inf) -> Check:
    """A finite number, fractional or not, within bounds."""

    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            refuse(place, f"a number{_between(least, most)}", value)
        try:
            finite = math.isfinite(value)
        except OverflowError:  # a whole number beyond all fractional ones
            finite = False
        if not finite:
            refuse(place, "a finite number", value)

    return check


def whole(least: int = 0, most: int = 2**53) -> Check:
    """A whole number within bounds."""

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not least <= value <= most:
            refuse(place, f"a whole number{_between(least, most)}", value)

    return check


def text(pattern: str = "(?s:.*)", what: str = "a text") -> Check:
    """A text that matches the whole pattern."""
    compiled = re.compile(pattern)

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            refuse(place, what, value)

    return check


def one_of(*values: Any) -> Check:
    """One of a few values, and of the same type."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            refuse(place, f"one of {', '.join(map(repr, values))}", value)

    return check


def either(*checks: Check) -> Check:
    """What one of the checks accepts; the last one words the message."""

    def check(value: Any, place: str) -> None:
        for one in checks[:-1]:
            try:
                return one(value, place)
            except ValueError:
                pass
        checks[-1](value, place)

    return check


def row(item: Check, least: int = 0, most: float = math.inf) -> Check:
    """A list of items."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            refuse(place, f"a list{_between(least, most)} long", value)
        for index, one in enumerate(value):
            item(one, f"{place}[{index}]")

    return check


def table(
    needed: Mapping[str, Check], known: Mapping[str, Check] | None = None, *, others: Check | None = None
) -> Check:
    """A table with the needed keys, perhaps known ones, and others: any, unless a check is given for them."""
    known = known or {}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            refuse(place or "it", "a table", value)
        for key in needed:
            if key not in value:
                raise ValueError(f"{place + '.' if place else ''}{key} is missing")
        for key, one in value.items():
            inner = needed.get(key) or known.get(key) or others
            if inner is not None:
                inner(one, f"{place}.{key}" if place else key)

    return check


def _between(least: float, most: float) -> str:
    if least == -math.inf and most == math.inf:
        return ""
    return f" from {least:g} to {most:g}" if most < 2**53 else f" of at least {least:g}"


flag: Check = one_of(True, False)
nothing: Check = one_of(None)
share: Check = number(0, 1)
label: Check = text(r"[\w-][\w.+-]*", "a name of letters, digits, '.', '+' and '-'")
scalar: Check = either(text(), number(), flag, nothing)
