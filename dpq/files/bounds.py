"""The numbers that a setting may hold, said by its annotation, for settings that a program makes itself.

What is read from a file goes through `dpq.files.schema`, whose import takes longer.
"""

from __future__ import annotations

import math
import numbers
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval

from dpq.errors import InputError


class Bounded:
    """A frozen dataclass whose annotations bound its fields, as in a file of settings so in a program's own call."""

    def __post_init__(self) -> None:
        """Refuse a number out of its range and an unknown word; numbers of NumPy become Python's.

        Raises:
            InputError: names the field.
        """
        own: Any = type(self)
        for name, kind in _kinds(own).items():
            object.__setattr__(self, name, in_range(name, kind, getattr(self, name)))


@cache
def _kinds(config: type[Any]) -> dict[str, Any]:
    return get_type_hints(config, include_extras=True)


def in_range(name: str, kind: Any, value: Any) -> Any:
    """A value of a setting, as the annotation has it.

    Args:
        name: that messages give it.
        kind: a number, perhaps with an `Interval`; a flag; `Literal` words; a tuple of these; or a class.
        value: to be looked at.

    Raises:
        InputError: the value is out of range or of another type.
    """
    bounds = next((one for one in get_args(kind)[1:] if isinstance(one, Interval)), None)
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is Literal:
        fits = isinstance(value, str | int) and value in get_args(plain)
        wanted = f"one of {', '.join(map(repr, get_args(plain)))}"
    elif get_origin(plain) is tuple:
        inner = get_args(plain)
        if isinstance(value, tuple | list) and len(value) == len(inner):
            return tuple(in_range(name, *pair) for pair in zip(inner, value, strict=True))
        fits, wanted = False, f"{len(inner)} values"
    elif plain in (int, float):
        least, most = (bounds.ge, bounds.le) if bounds else (-math.inf, math.inf)
        number = numbers.Integral if plain is int else numbers.Real
        fits = isinstance(value, number) and not isinstance(value, bool) and least <= value <= most  # type: ignore[operator]
        wanted = f"{'a whole number' if plain is int else 'a number'} from {least} to {most}"
        value = plain(value) if fits else value
    else:
        fits, wanted = isinstance(value, plain), "true or false" if plain is bool else f"of the class {plain.__name__}"
    if not fits:
        raise InputError(f"{name} must be {wanted}; got {value!r}")
    return value
