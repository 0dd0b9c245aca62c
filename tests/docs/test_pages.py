"""What the pages show runs: all blocks marked python of a page, in order, in one namespace; commands can be read."""

import os
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.__main__ import make_parser

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```python" in page.read_text(encoding="utf-8"))


def blocks(page):
    """The code of each block, with as many empty lines before it that a traceback names the page's own lines."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1]


def run_page(page):
    names = {"__name__": "page"}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), names)


def test_there_are_pages_with_code():
    assert DOCS / "library.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_blocks_share_names_and_a_failure_is_raised(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\ntext\n```python\nassert a == 2, 'seen'\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="seen") as failure:
        run_page(page)
    assert failure.traceback[-1].lineno + 1 == 6


COMMAND = re.compile(r"^    (?:\w.* )?-m benchmarks (.*)$", re.MULTILINE)
COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command}")
    for page in sorted(DOCS.rglob("*.md"))
    for command in COMMAND.findall(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_page_is_one(command, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    make_parser().parse_args(shlex.split(os.path.expandvars(command), comments=True))


def test_commands_are_found():
    assert len([one for one in COMMANDS if "machines.md" in one.id]) >= 7
