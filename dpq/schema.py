"""The one reader of tables that nobody vouches for: settings, records, exhibits, saved models, indexes.

What a table must hold is said by a dataclass: its annotations, and bounds in `Annotated`. Pydantic compares; here stand
the words of what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

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
_LABEL, _DIGEST = r"^[\w-][\w.+-]*$", "^[0-9a-f]{64}$"
Label = Annotated[str, Field(pattern=_LABEL)]
Digest = Annotated[str, Field(pattern=_DIGEST)]
Scalar = str | bool | int | float | None

_PATTERNS: dict[str, str] = {_LABEL: "a name of letters, digits, '.', '+' and '-'", _DIGEST: "64 hexadecimal digits"}

_KINDS = {  # by Python's and by pydantic's names
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a text",
    "string": "a text",
    "dataclass": "a table",
    "dict": "a table",
    "mapping": "a table",
    "tuple": "a list",
    "NoneType": "absent",
}
_ENDS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "min_length": "at least",
    "max_length": "at most",
}


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
    """The first fault, in words."""
    first = error.errors(include_url=False)[0]
    steps, expected = _walk(kind, first["loc"][1:])
    place = _place(where, steps)
    problem, bounds = first["type"], first.get("ctx", {})
    if problem == "missing":
        return f"{place} is missing"
    if problem == "unexpected_keyword_argument":
        outer, table = _walk(kind, first["loc"][1:-1])
        known = ", ".join(sorted(field.name for field in fields(table)))
        return f"unknown key {str(steps[-1])[:40]!r} in {_place(where, outer)}; known are {known}"
    if problem in ("value_error", "json_invalid"):
        return f"{place}: {one_line(bounds['error'])}" if steps or where else str(bounds["error"])
    return f"{place} must be {_wanted(problem, bounds, expected)}; got {_short(first['input'])}"


def _wanted(problem: str, bounds: dict[str, Any], expected: Any) -> str:
    """What a place must hold, from the kind of its fault, that fault's details and the annotation."""
    if branches := _branches(expected):
        names = [(get_origin(each) or each).__name__ for each in branches]
        kinds = list(dict.fromkeys(_KINDS["float" if name == "int" else name] for name in names))
        return f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    if problem == "literal_error":
        return f"one of {bounds['expected'].replace(' or ', ', ')}"
    if problem == "finite_number":
        return "a finite number"
    if problem == "string_pattern_mismatch":
        return _PATTERNS.get(str(bounds["pattern"]), f"like {bounds['pattern']}")
    ends = [f"{word} {bounds[end]:.16g}" for end, word in _ENDS.items() if end in bounds]
    if problem in ("too_short", "too_long"):
        return f"a list of {ends[0]} values"
    return ends[0] if ends else _KINDS.get(problem.split("_")[0], problem)


def _walk(kind: Any, steps: Sequence[Any]) -> tuple[list[Any], Any]:
    """Down the annotations as far as they say where a place is, and what is expected there.

    Below several kinds of value for one place, pydantic names the kind that it tried, which is no place.
    """
    path: list[Any] = []
    for step in steps:
        kind = _bare(kind)
        if _branches(kind):
            break
        path.append(step)
        if is_dataclass(kind):
            kind = get_type_hints(kind, include_extras=True).get(step)
        elif inner := [each for each in get_args(kind) if each is not Ellipsis]:
            kind = inner[step] if isinstance(step, int) and step < len(inner) else inner[-1]
    return path, _bare(kind)


def _bare(kind: Any) -> Any:
    """An annotation without bounds, and without None where that is the only other value."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    others = [each for each in get_args(kind) if each is not NoneType]
    return _bare(others[0]) if NoneType in get_args(kind) and len(others) == 1 else kind


def _branches(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else ()


def _place(where: str, path: list[Any]) -> str:
    place = where
    for step in path:
        place += f"[{step}]" if isinstance(step, int) else f"{'.' if place else ''}{' '.join(str(step).split())}"
    return place or "it"
