import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.records.store import write_record
from tests.benchmarks.made_up import run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def output(tmp_path):
    for method, maps in (("dpq", (0.7, 0.72)), ("rq-dpq", (0.6, 0.61))):
        for seed in range(2):
            record = run(method, seed, [value + seed / 100 for value in maps])
            write_record(tmp_path / "cifar10/runs" / f"{record['id']}.json", record)
    return tmp_path


def compare(output, *arguments):
    return main(["compare", "cifar10:dpq", "cifar10:rq-dpq", "--output", str(output), *map(str, arguments)])


def test_a_comparison_is_printed_with_its_verdict(output, capsys):
    assert compare(output) == 0
    printed = capsys.readouterr().out
    assert "| mean    | 0.715 | 0.610 | +0.105  |" in printed
    assert printed.endswith("DPQ is better than RQ on DPQ's embedding: holds\n")


def test_json_is_one_line(output, capsys):
    assert compare(output, "--json") == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed)["verdict"] == "holds"


@pytest.mark.parametrize("name", ["effects.svg", "effects.png"])
def test_a_picture_is_drawn(output, name, capsys):
    path = output / "new" / name
    assert compare(output, "--figure", path) == 0
    head = path.read_bytes()[:100]
    assert b"<?xml" in head if name.endswith("svg") else head.startswith(b"\x89PNG")
    before = path.read_bytes()
    assert compare(output, "--figure", path) == 0
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_mistakes_are_one_line(output, capsys):
    for arguments in (
        ["cifar10:dpq"],
        ["cifar10:dpq", "nope"],
        ["cifar10:dpq", "cifar10:dpq"],
        ["cifar10:dpq", "cifar10:rq-dpq", "--figure", "effects.pdf"],
        ["cifar10:dpq", "cifar10:rq-dpq", "--paired"],
    ):
        assert main(["compare", *arguments, "--output", str(output)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_page_shows_what_is_printed(capsys):
    page = (ROOT / "docs/tables.md").read_text(encoding="utf-8").partition("## Is A better than B?")[2]
    command, shown = re.match(r"\s+python -m benchmarks (.*)\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    assert main([*command.split(), "--output", str(ROOT / "results")]) == 0
    assert capsys.readouterr().out == shown


def test_records_are_compared_without_pytorch():
    code = (
        "import sys; from benchmarks.__main__ import main\n"
        "assert main(['compare', 'cifar10:dpq', 'cifar10:dqn']) == 0\n"
        "print([name for name in ('torch', 'timm', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.splitlines()[-1] == "[]"
