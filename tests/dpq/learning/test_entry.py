import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from dpq import InputError
from dpq.learning.entry import LAST, MethodContext, MethodEntry, Registry, read_methods


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
        ({"config": Nested}, "settings Nested must hold texts, numbers and flags; inner is something else"),
        ({"config": None}, "settings None must be a frozen dataclass"),
        ({"variants": ("paper", "released")}, r"settings SearchConfig must have a method released\(\)"),
        ({"ranges": {"tau": (0, 1)}}, "settings SearchConfig have no field tau, of which a range is given"),
    ],
)
def test_an_entry_that_would_fail_later_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        MethodEntry(**({"build": print, "title": "PQ+", "progressive": False} | change))


def test_a_method_without_a_source_cannot_ask_for_it():
    context = MethodContext(None, 8, 16, 10, None, None)
    with pytest.raises(InputError, match=r"MethodEntry\(source="):
        context.source()


def module_of(folder, text):
    """The name of an importable module of this text, after a function to build with."""
    (folder / "made_up_method.py").write_text(f"def build(context):\n    return None\n\n{text}\n")
    return "made_up_method"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("made_up_method", None)


@pytest.mark.parametrize("assigned", ["METHOD", "METHOD: MethodEntry"])
def test_a_method_is_read_without_importing_its_file(folder, assigned):
    text = (
        assigned + ' = MethodEntry(build=build, title="PQ+", progressive=True, source="backbone", on_dpq={"order": 3})'
    )
    own, on_dpq = read_methods("pq-plus", module_of(folder, "raise ValueError('imported')\n" + text))
    assert (own.title, own.progressive, own.order, own.style, own.variants) == ("PQ+", True, LAST, None, ("paper",))
    assert (own.configs, own.features, own.origin) == (("pq-plus",), "frozen features", {})
    assert (on_dpq.name, on_dpq.source, on_dpq.order) == ("pq-plus-dpq", "dpq", 3)
    assert (on_dpq.configs, on_dpq.features) == (("dpq", "pq-plus"), "DPQ's embedding")
    with pytest.raises(ValueError, match="imported"):
        own.entry  # noqa: B018


def test_a_file_without_a_method_is_none(folder):
    assert read_methods("helper", module_of(folder, "OTHER = 3")) == []


@pytest.mark.parametrize(
    "arguments",
    ["build, 'PQ+', True", "build=build, title='PQ+'", "build=build, title='PQ+', progressive=bool(1)"],
)
def test_what_is_read_from_the_text_must_be_written_out(folder, arguments):
    said = r"METHOD of made_up_method needs title and progressive, by name, and literals for title, progressive, "
    with pytest.raises(InputError, match=said):
        read_methods("pq-plus", module_of(folder, f"METHOD = MethodEntry({arguments})"))


def test_methods_stand_in_their_order_and_files_without_one_are_left_out(folder):
    text = 'METHOD = MethodEntry(build=build, title="PQ+", progressive=True)'
    registry = Registry(
        {"b": module_of(folder, text), "a": "made_up_method", "helper": "dpq.errors", "dpq": "dpq.method.dpq"}
    )
    assert list(registry.own) == ["dpq", "a", "b"]


def test_methods_are_found_without_pytorch():
    code = "import sys, dpq.learning.entry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
