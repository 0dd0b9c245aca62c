from dataclasses import dataclass, field

import pytest

from dpq import InputError
from dpq.registry import MethodContext, MethodEntry


@dataclass
class Thawed:
    score: str = "l2"


@dataclass(frozen=True)
class Scoreless:
    weight: float = 1.0


@dataclass(frozen=True)
class Needy:
    weight: float
    score: str = "l2"


@dataclass(frozen=True)
class Nested:
    score: str = "l2"
    inner: Scoreless = field(default_factory=Scoreless)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"build": 3}, "build must be callable"),
        ({"title": "a | b"}, "title must be letters"),
        ({"title": ""}, "title must be letters"),
        ({"title": "50 % PQ"}, "title must be letters"),
        ({"source": "dqn"}, "source must be one of backbone, dpq, or None; got 'dqn'"),
        ({"config": dict}, "settings dict must be a frozen dataclass"),
        ({"config": Thawed}, "settings Thawed must be a frozen dataclass"),
        ({"config": Scoreless}, "settings Scoreless must have a field score, one of inner, l2"),
        ({"config": Needy}, "settings Needy must have defaults"),
        ({"config": Nested}, "settings Nested must hold texts, numbers and flags; inner is none"),
    ],
)
def test_an_entry_that_would_fail_later_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        MethodEntry(**({"build": print, "title": "PQ+", "progressive": False} | change))


def test_a_method_without_a_source_cannot_ask_for_it():
    context = MethodContext(None, 8, 16, 10, None, None)
    with pytest.raises(InputError, match=r"MethodEntry\(source="):
        context.source()
