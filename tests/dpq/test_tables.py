from dataclasses import dataclass, field
from typing import Literal

import pytest

from dpq.tables import from_table


@dataclass(frozen=True)
class Inner:
    pair: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Outer:
    number: float
    count: int
    flag: bool
    choice: Literal["a", "b"]
    names: tuple[str, ...]
    inner: Inner = field(default_factory=Inner)


TABLE = {"number": 1, "count": 2, "flag": True, "choice": "a", "names": ["x", "y"], "inner": {"pair": [0.5, 2]}}


def test_every_kind_of_field():
    read = from_table(Outer, TABLE, "it")
    assert read == Outer(1.0, 2, True, "a", ("x", "y"), Inner((0.5, 2.0)))
    assert type(read.number) is float


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"number": "1"}, "it.number cannot be '1'"),
        ({"number": float("nan")}, "it.number cannot be 'nan'"),
        ({"number": True}, "it.number"),
        ({"count": 2.0}, "it.count"),
        ({"count": True}, "it.count"),
        ({"flag": 1}, "it.flag"),
        ({"choice": "c"}, "it.choice"),
        ({"choice": []}, "it.choice"),
        ({"names": "xy"}, "it.names"),
        ({"names": [1]}, "it.names"),
        ({"inner": []}, "it.inner is no table"),
        ({"inner": {}}, "it.inner lacks the key 'pair'"),
        ({"inner": {"pair": [1]}}, "it.inner.pair"),
        ({"other": 1}, "it has an unknown key 'other'"),
    ],
)
def test_what_does_not_fit_is_refused(change, why):
    with pytest.raises(ValueError, match=why):
        from_table(Outer, TABLE | change, "it")
