"""Every file and function that the walk names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/walk.md").read_text(encoding="utf-8")
# `file.py`: `name`, `Class.name`, over ends of lines
STOPS = re.findall(r"`([\w/]+\.py)`:((?:,?\s`[\w.]+`)+)", PAGE)
NAMED = [(path, name) for path, names in STOPS for name in re.findall(r"`([\w.]+)`", names)]
DEFINED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def defined(source):
    """Names of the functions and classes of a module, and `Class.name` of what stands in a class."""
    top = [node for node in ast.parse(source).body if isinstance(node, DEFINED)]
    within = [(node, inner) for node in top if isinstance(node, ast.ClassDef) for inner in node.body]
    return {node.name for node in top} | {f"{a.name}.{b.name}" for a, b in within if isinstance(b, DEFINED)}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[f"{path}:{name}" for path, name in NAMED])
def test_what_the_walk_names_is_there(path, name):
    assert (ROOT / path).is_file(), f"docs/walk.md names {path}"
    assert name in defined((ROOT / path).read_text(encoding="utf-8")), f"docs/walk.md names {name} of {path}"


def test_nothing_that_the_walk_names_escapes_the_check():
    assert {path for path, _ in NAMED} == set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert len(STOPS) == len(re.findall(r"\.py`:", PAGE)) > 20


@pytest.mark.parametrize("folder", sorted(set(re.findall(r"`([\w/]+/)`", PAGE))))
def test_folders_are_there(folder):
    assert (ROOT / folder).is_dir()


def test_names_are_found_in_classes_and_outside():
    source = "def f(): pass\nclass A:\n    def g(self):\n        def h(): pass\n    x = 1\n"
    assert defined(source) == {"f", "A", "A.g"}
