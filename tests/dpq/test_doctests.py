"""Examples in docstrings of the library run and give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import dpq

ROOT = Path(dpq.__file__).parent
MODULES = sorted(
    ".".join(("dpq", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_the_public_classes_have_examples():
    assert {"dpq.method.api", "dpq.codes.estimator"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
