"""The one reader of tables that nobody vouches for: settings, records, exhibits, saved models, indexes.

What a table must hold is said by a dataclass: its annotations, and bounds in `Annotated`. Pydantic compares; here stand
the words of what is wrong.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from dpq.errors import one_line

T = TypeVar("T")
Extra = Literal["forbid", "ignore"]

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Whole = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**53)]
Bits = Annotated[int, Field(ge=1, le=1024)]
_LABEL, _DIGEST = r"^[\w-][\w.+-]*$", "^[0-9a-f]{64}$"
Label = Annotated[str, Field(pattern=_LABEL)]
Digest = Annotated[str, Field(pattern=_DIGEST)]
Scalar = str | bool | int | float | None

_PATTERNS = {_LABEL: "a name of letters, digits, '.', '+' and '-'", _DIGEST: "64 hexadecimal digits"}

_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "dataclass": "a table",
    "dict": "a table",
    "list": "a list",
    "tuple": "a list",
    "none": "absent",
}
_ENDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_BRANCHES = {kind.__name__ for kind in get_args(Scalar)}  # which a place ends in where a scalar is expected


def read_table(kind: type[T], table: Any, where: str = "", *, extra: Extra = "forbid") -> T:
    """A dataclass from a table, with every number within its bounds; values are never converted, except 1 to 1.0.

    Args:
        kind: the dataclass, of dataclasses, tuples, dictionaries and scalars.
        table: from JSON or TOML.
        where: what messages call the table; empty where its keys are named alone.
        extra: keys that the dataclass does not have are refused ("forbid") or let pass ("ignore").

    Raises:
        InputError: the dataclass itself refuses its values.
        ValueError: names the first place that is wrong, what it must hold and what it holds.
    """
    try:
        # As JSON text, whose reader takes lists for tuples and tables for dataclasses, and converts nothing else.
        return _adapter(kind, extra).validate_json(json.dumps({"it": table}, default=str)).it  # type: ignore[no-any-return]
    except ValidationError as error:
        raise ValueError(_fault(kind, error, where)) from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{where or 'it'} has half a surrogate pair") from error


def refuse(place: str, wanted: str, value: Any) -> None:
    """Say what a place must hold, and what it holds."""
    raise ValueError(f"{place} must be {wanted}; got {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _adapter(kind: type[Any], extra: Extra) -> TypeAdapter[Any]:
    holder = make_dataclass("Holder", [("it", kind)])  # whose configuration the dataclasses inside follow
    holder.__pydantic_config__ = ConfigDict(extra=extra, strict=True, allow_inf_nan=False)  # type: ignore[attr-defined]
    return TypeAdapter(holder)


def _fault(kind: type[Any], error: ValidationError, where: str) -> str:
    """The first fault, in words."""
    first = error.errors(include_url=False)[0]
    path, found = list(first["loc"][1:]), first["input"]
    scalar = bool(path) and path[-1] in _BRANCHES and error.error_count() > 1
    place = _place(where, path[:-1] if scalar else path)
    problem, bounds = first["type"], first.get("ctx", {})
    if problem == "missing":
        return f"{place} is missing"
    if problem == "unexpected_keyword_argument":
        known = ", ".join(sorted(_keys_at(kind, path[:-1])))
        return f"unknown key {str(path[-1])[:40]!r} in {_place(where, path[:-1]) or 'it'}; known are {known}"
    if problem in ("value_error", "json_invalid"):
        return f"{place}: {one_line(bounds['error'])}"
    if scalar:
        wanted = "a text, a number or a flag"
    elif problem == "literal_error":
        wanted = "one of " + bounds["expected"].replace(" or ", ", ")
    elif problem == "finite_number":
        wanted = "a finite number"
    elif problem in ("too_short", "too_long"):
        wanted = "a list " + " and ".join(
            f"of {word} {bounds[end]}"
            for end, word in (("min_length", "at least"), ("max_length", "at most"))
            if end in bounds
        )
    elif problem == "string_pattern_mismatch":
        wanted = _PATTERNS.get(bounds["pattern"], f"like {bounds['pattern']}")
    else:
        ends = [f"{word} {bounds[end]:g}" for end, word in _ENDS.items() if end in bounds]
        wanted = ends[0] if ends else _KINDS.get(problem.split("_")[0], problem)
    return f"{place or 'it'} must be {wanted}; got {_short(found)}"


def _place(where: str, path: list[Any]) -> str:
    place = where
    for step in path:
        place += f"[{step}]" if isinstance(step, int) else f"{'.' if place else ''}{' '.join(str(step).split())}"
    return place


def _keys_at(kind: Any, path: list[Any]) -> list[str]:
    """The keys that a table may have, found by going down the annotations."""
    for step in path:
        if is_dataclass(kind):
            kind = get_type_hints(kind)[step]
        else:
            kind = next((each for each in get_args(kind) if each is not Ellipsis), None)
        kind = next((each for each in get_args(kind) if is_dataclass(each)), kind)
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []
