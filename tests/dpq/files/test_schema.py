import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Literal

import pytest
from annotated_types import Interval, MinLen

from dpq import InputError
from dpq.files.schema import Digest, Label, Scalar, Share, Size, read_table


@dataclass(frozen=True)
class Inner:
    pair: tuple[float, float]


@dataclass(frozen=True)
class Outer:
    number: float
    count: int
    flag: bool
    choice: Literal["a", "b"]
    names: tuple[str, ...]
    inner: Inner = field(default_factory=lambda: Inner((0.0, 1.0)))


TABLE = {"number": 1, "count": 2, "flag": True, "choice": "a", "names": ["x", "y"], "inner": {"pair": [0.5, 2]}}


def test_every_kind_of_field():
    read = read_table(Outer, TABLE, "it")
    assert read == Outer(1.0, 2, True, "a", ("x", "y"), Inner((0.5, 2.0)))
    assert type(read.number) is float


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"number": "1"}, "it.number must be a number; got '1'"),
        ({"number": float("nan")}, "it.number must be a finite number; got nan"),
        ({"number": float("inf")}, "it.number must be a finite number"),
        ({"number": 10**400}, "it.number must be a finite number"),
        ({"number": True}, "it.number must be a number; got True"),
        ({"count": 2.0}, "it.count must be a whole number; got 2.0"),
        ({"count": True}, "it.count must be a whole number"),
        ({"flag": 1}, "it.flag must be true or false; got 1"),
        ({"choice": "c"}, "it.choice must be 'a' or 'b'; got 'c'"),
        ({"choice": []}, "it.choice must be 'a' or 'b'; got []"),
        ({"names": "xy"}, "it.names must be a list; got 'xy'"),
        ({"names": [1]}, "it.names[0] must be a text; got 1"),
        ({"inner": []}, "it.inner must be a table; got []"),
        ({"inner": {}}, "it.inner.pair is missing"),
        ({"inner": {"pair": [1]}}, "it.inner.pair[1] is missing"),
        ({"inner": {"pair": [1, 2, 3]}}, "it.inner.pair must have at most 2 items, not 3; got [1, 2, 3]"),
        ({"other": 1}, "unknown key 'other' in it; known are choice, count, flag, inner, names, number"),
        ({"inner": {"pair": [1, 2], "other": 1}}, "unknown key 'other' in it.inner; known are pair"),
        ({"names": ["\ud800"]}, "it: unexpected end of hex escape"),
        ({"names": [date(2026, 1, 1)]}, "it holds datetime.date(2026, 1, 1), neither a text nor a number"),
    ],
)
def test_what_does_not_fit_is_refused(change, why):
    with pytest.raises(ValueError, match=re.escape(why)) as refused:
        read_table(Outer, TABLE | change, "it")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("table", [None, [], "it", 1])
def test_a_table_is_needed(table):
    with pytest.raises(ValueError, match=re.escape(f"it must be a table; got {table!r}")):
        read_table(Outer, table)


def test_a_field_that_is_missing():
    with pytest.raises(ValueError, match=r"^number is missing$"):
        read_table(Outer, {key: value for key, value in TABLE.items() if key != "number"})


def test_nesting_has_an_end():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        read_table(Outer, TABLE | {"names": deep})


@dataclass(frozen=True)
class Bounded:
    share: Share = 0.5
    ratio: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    size: Size | None = None
    label: Label = "a"
    digest: Digest = "0" * 64
    rows: Annotated[tuple[Inner, ...], MinLen(1)] = (Inner((0.0, 1.0)),)
    by_name: Mapping[str, Share] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    report: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"share": 1.5}, "share must be at most 1; got 1.5"),
        ({"share": -1}, "share must be at least 0; got -1"),
        ({"ratio": 0}, "ratio must be above 0; got 0"),
        ({"ratio": 1}, "ratio must be below 1; got 1"),
        ({"size": 0}, "size must be at least 1; got 0"),
        ({"size": 2**53 + 1}, "size must be at most 9007199254740992; got 9007199254740993"),
        ({"size": "1"}, "size must be a whole number; got '1'"),
        ({"label": "a/b"}, "label must be a name of letters, digits, '.', '+' and '-'; got 'a/b'"),
        ({"label": "a\n"}, "label must be a name"),
        ({"digest": "f" * 63}, "digest must be 64 hexadecimal digits; got 'ff"),
        ({"rows": []}, "rows must have at least 1 item, not 0; got []"),
        ({"rows": [{"pair": [0, 1]}, {"pair": 0}]}, "rows[1].pair must be a list; got 0"),
        ({"by_name": {"a\nb": -1}}, "by_name.a b must be at least 0; got -1"),
        ({"by_name": []}, "by_name must be a table; got []"),
        ({"scalars": {"a": []}}, "scalars.a must be a text; got []"),
        ({"report": {"a": {}}}, "report.a must be a number; got {}"),
        ({"report": {"a": ["x", 1]}}, "report.a must be a number; got ['x', 1]"),
    ],
)
def test_bounds(table, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        read_table(Bounded, table)


def test_what_lies_within_bounds_comes_back_as_it_was():
    scalars = {"text": "x", "flag": True, "count": 1, "number": 1.0, "none": None}
    read = read_table(Bounded, {"share": 1, "scalars": scalars, "report": {"loss": 1, "signs": ["x"]}})
    assert read == Bounded(share=1.0, scalars=scalars, report={"loss": 1.0, "signs": ("x",)})
    assert [type(value) for value in read.scalars.values()] == [type(value) for value in scalars.values()]


def test_unknown_keys_may_be_let_pass_at_every_depth():
    later = {"inner": {"pair": [0, 1], "later": []}, "later": {"of": ["any", "kind"]}}
    assert read_table(Outer, TABLE | later, extra="ignore") == read_table(Outer, TABLE | {"inner": {"pair": [0, 1]}})


@dataclass(frozen=True)
class Choosy:
    number: int

    def __post_init__(self):
        if self.number == 13:
            raise InputError("13 is unlucky; take 12")


@dataclass(frozen=True)
class Holder:
    inner: Choosy


def test_a_dataclass_may_refuse_its_values():
    assert read_table(Holder, {"inner": {"number": 12}}) == Holder(Choosy(12))
    with pytest.raises(ValueError, match=r"^inner: 13 is unlucky; take 12$"):
        read_table(Holder, {"inner": {"number": 13}})
