"""One version, a log of changes that names it, and distributions that hold what the checkout holds."""

import re
import tomllib

import pytest

import dpq
from tools import ROOT
from tools.distributions import BESIDE, differences, library

CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_is_stated_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dpq.version.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?", dpq.__version__)


def test_the_citation_is_of_this_version():
    assert f"\nversion: {dpq.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_newest_changes_are_of_this_version_or_unreleased():
    newest, *older = re.findall(r"^## (.*)$", CHANGES, re.MULTILINE)
    assert newest == "Unreleased" or re.fullmatch(
        rf"{re.escape(dpq.__version__)} - (unreleased|\d{{4}}-\d\d-\d\d)", newest
    )
    assert [one for one in older if not re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", one)] == []


def test_changes_have_a_kind():
    assert set(re.findall(r"^### (.*)$", CHANGES, re.MULTILINE)) <= KINDS
    assert re.search(r"^## [^#]*?\n\n### ", CHANGES, re.MULTILINE)


@pytest.fixture
def distributions():
    """A wheel and an sdist as they should be."""
    files = dict(library())
    beside = {name: (ROOT / name).read_bytes() for name in BESIDE}
    return files | {"dpq-0.dist-info/METADATA": b""}, files | beside | {
        "PKG-INFO": b"",
        "dpq.egg-info/SOURCES.txt": b"",
    }


def test_distributions_of_the_checkout_pass(distributions):
    assert "dpq/protocols/base.py" in library() and "dpq/py.typed" in library()
    assert differences(*distributions) == []


def test_what_is_missing_too_much_or_changed_is_named(distributions):
    wheel, sdist = distributions
    del wheel["dpq/py.typed"]
    wheel["benchmarks/__init__.py"] = b""
    sdist["dpq/method/api.py"] = b"other"
    assert differences(wheel, sdist) == [
        "the wheel lacks dpq/py.typed",
        "the wheel also holds benchmarks/__init__.py",
        "dpq/method/api.py of the sdist is another",
    ]
