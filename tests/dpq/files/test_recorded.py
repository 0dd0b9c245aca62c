from dataclasses import asdict, dataclass, field, fields

from dpq import DPQConfig
from dpq.learning.settings import added_later, as_recorded, changed_later


@dataclass(frozen=True)
class Inner:
    old: int = 1
    new: int | None = added_later(None)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    sides: tuple[int, ...] = (1, 2)
    flag: bool = added_later(True)


def test_later_fields_are_recorded_where_they_are_used_and_at_no_other_time():
    assert as_recorded(Outer()) == {"inner": {"old": 1}, "sides": (1, 2)}
    assert as_recorded(Outer(Inner(new=3), flag=False)) == {
        "inner": {"old": 1, "new": 3},
        "sides": (1, 2),
        "flag": False,
    }
    assert as_recorded(Outer(Inner(old=1))) == as_recorded(Outer())


def test_all_other_fields_are_recorded_at_their_defaults_too():
    later = {"soft_terms", "train_backbone", "two_step", "label_smoothing"}
    assert as_recorded(DPQConfig()) == {k: v for k, v in asdict(DPQConfig()).items() if k not in later}
    assert later < {f.name for f in fields(DPQConfig)}


@dataclass(frozen=True)
class Better:
    scaled: bool = changed_later(True, before=False)


def test_a_later_field_whose_default_is_new_is_recorded_unless_it_is_as_before():
    assert Better().scaled
    assert as_recorded(Better()) == {"scaled": True}
    assert as_recorded(Better(scaled=False)) == {}
