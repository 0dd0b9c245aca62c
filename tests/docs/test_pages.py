"""What the pages show runs: all blocks marked python of a page, in order, in one namespace."""

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = str(DOCS.parent / "tests/plugin/dpq_example_method")
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```python" in page.read_text(encoding="utf-8"))


def blocks(page):
    """The code of each block, with as many empty lines before it that a traceback names the page's own lines."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1]


def run_page(page):
    """As a module, whose dataclasses are found by its name."""
    module = sys.modules["page"] = ModuleType("page")
    try:
        for code in blocks(page):
            exec(compile(code, str(page), "exec"), vars(module))
    finally:
        del sys.modules["page"]


def test_there_are_pages_with_code():
    assert DOCS / "library.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    shutil.copy(DOCS.parent / "results/results.csv", "results")
    monkeypatch.syspath_prepend(EXAMPLE)  # a package that a page imports as installed
    run_page(page)


def test_blocks_share_names_and_a_failure_is_raised(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\ntext\n```python\nassert a == 2, 'seen'\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="seen") as failure:
        run_page(page)
    assert failure.traceback[-1].lineno + 1 == 6
