"""The one reader of tables that nobody vouches for: settings, records, exhibits, saved models, indexes.

What a table must hold is said by a dataclass: its annotations, and bounds in `Annotated`. Pydantic compares.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from annotated_types import Ge, Interval
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from dpq.errors import one_line

T = TypeVar("T")
Extra = Literal["forbid", "ignore"]

Share = Annotated[float, Interval(ge=0, le=1)]
Amount = Annotated[float, Ge(0)]
Whole = Annotated[int, Interval(ge=0, le=2**53)]
Size = Annotated[int, Interval(ge=1, le=2**53)]
Bits = Annotated[int, Interval(ge=1, le=1024)]
_LABEL, _DIGEST, _VERSION = r"^[\w-][\w.+-]*$", "^[0-9a-f]{64}$", r"^[A-Za-z0-9.+!_-]+$"
Label = Annotated[str, Field(pattern=_LABEL)]
Digest = Annotated[str, Field(pattern=_DIGEST)]
Version = Annotated[str, Field(pattern=_VERSION)]
Scalar = str | bool | int | float | None

_PATTERNS = {
    _LABEL: "be a name of letters, digits, '.', '+' and '-'",
    _DIGEST: "be 64 hexadecimal digits",
    _VERSION: "be a version",
}
_PLAIN = {  # by pydantic's words, the longer ones first
    "be a valid integer": "be a whole number",
    "be a valid number": "be a number",
    "be a valid string": "be a text",
    "be a valid boolean": "be true or false",
    "be a valid array": "be a list",
    "be an object": "be a table",
    "be greater than or equal to": "be at least",
    "be less than or equal to": "be at most",
    "be greater than": "be above",
    "be less than": "be below",
    " after validation": "",
}
_FIRST_OF_SEVERAL = ("str", "float")  # kinds that `Scalar`, and a record's reports of an epoch, begin with


def read_table(kind: type[T], table: Any, where: str = "", *, extra: Extra = "forbid") -> T:
    """A dataclass from a table, with every number within its bounds; values are never converted, except 1 to 1.0.

    Args:
        kind: the dataclass, of dataclasses, tuples, dictionaries and scalars.
        table: from JSON or TOML.
        where: what messages call the table; empty where its keys are named alone.
        extra: keys that the dataclass does not have are refused ("forbid") or let pass ("ignore").

    Raises:
        ValueError: names the first place that is wrong, what it must hold and what it holds; or says what the dataclass
            itself does not take.
    """
    try:
        # As JSON text, whose reader takes lists for tuples and tables for dataclasses, and converts nothing else.
        text = json.dumps({"it": table}, default=partial(_refuse_foreign, where))
        return _adapter(kind, extra).validate_json(text).it  # type: ignore[arg-type, no-any-return]
    except ValidationError as error:
        raise ValueError(_fault(kind, error, where)) from error
    except RecursionError as error:
        raise ValueError(f"{where or 'it'} is nested too deeply") from error


def refuse(place: str, wanted: str, value: Any) -> None:
    """Say what a place must hold, and what it holds."""
    raise ValueError(f"{place} must be {wanted}; got {_short(value)}")


def _refuse_foreign(where: str, value: Any) -> None:
    raise ValueError(f"{where or 'it'} holds {_short(value)}, neither a text nor a number")  # a date of TOML


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _adapter(kind: type[Any], extra: Extra) -> TypeAdapter[Any]:
    holder = make_dataclass("Holder", [("it", kind)])  # whose configuration the dataclasses inside follow
    config = ConfigDict(extra=extra, strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    holder.__pydantic_config__ = config  # type: ignore[attr-defined]
    return TypeAdapter(holder)


def _fault(kind: type[Any], error: ValidationError, where: str) -> str:
    """The first fault, in words; pydantic's begin with "Input should be"."""
    first = error.errors(include_url=False)[0]
    path, problem, details = list(first["loc"][1:]), first["type"], first.get("ctx", {})
    if error.error_count() > 1 and path and path[-1] in _FIRST_OF_SEVERAL:
        path.pop()  # no place: the kind that was tried there before others
    place = _place(where, path)
    if problem == "missing":
        return f"{place} is missing"
    if problem == "unexpected_keyword_argument":
        known = ", ".join(sorted(_keys_at(kind, path[:-1])))
        return f"unknown key {str(path[-1])[:40]!r} in {_place(where, path[:-1])}; known are {known}"
    if problem in ("value_error", "json_invalid"):
        return f"{place}: {one_line(details['error'])}" if path or where else str(details["error"])
    wanted = _PATTERNS.get(str(details.get("pattern")), first["msg"].split(" should ", 1)[-1])
    for words, plain in _PLAIN.items():
        wanted = wanted.replace(words, plain)
    return f"{place} must {wanted}; got {_short(first['input'])}"


def _place(where: str, path: list[Any]) -> str:
    place = where
    for step in path:
        place += f"[{step}]" if isinstance(step, int) else f"{'.' if place else ''}{' '.join(str(step).split())}"
    return place or "it"


def _keys_at(kind: Any, path: list[Any]) -> list[str]:
    """The keys that a table may have, found by going down the annotations."""
    for step in path:
        inner = [get_type_hints(kind).get(step, kind)] if is_dataclass(kind) else [kind]  # or one of several tables
        while inner and not is_dataclass(inner[-1]):  # of several, the last is a table's or list's values
            inner = [each for each in get_args(inner[-1]) if each not in (NoneType, Ellipsis)]
        kind = inner[-1] if inner else None
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []
