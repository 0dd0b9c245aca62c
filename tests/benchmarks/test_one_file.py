"""A method is one file in `baselines/`: written into a copy of the project, it is everywhere that a method is."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures.style import UNSTYLED
from benchmarks.setting.methods import METHODS
from tests.benchmarks.conftest import TINY

ROOT = Path(__file__).parents[2]
COPIED = ("dpq", "baselines", "benchmarks", "tests/__init__.py", "tests/conftest.py", "pyproject.toml")
TESTS = ("__init__.py", "conftest.py", "test_conformance.py")
# A deep method whose entry says no more than it must.
PLAIN = """
from baselines.deep.dqn import DQN
from dpq.registry import MethodEntry


class Plain(DQN):
    name = "plain-net"


METHOD = MethodEntry(
    build=lambda context: Plain(context.backbone(0), bits=context.bits, codebook_size=context.codebook_size),
    title="Plain net",
    progressive=False,
)
"""
SCRIPT = """
from pathlib import Path
from benchmarks.running import regression as regress
from benchmarks.__main__ import main
from benchmarks.setting.methods import METHODS

try:
    main(["run", "--help"])
except SystemExit:
    pass
few = "--limit 300 --epochs 2 --bits 8,16 --seeds 0 --backbone test_resnet --weights none".split()
print("STATUS", main(["run", "digits", "--method", "sampled", "plain-net", "dpq", *few, "--output", "out"]))
print("STATUS", main(["exhibit", *map(str, Path("out/digits/runs").glob("*.json")), "--parts", "ties"]))
print("STATUS", main(["table", "digits", "--output", "out"]), main(["table", "digits", "--output", "out", "--check"]))
print("STATUS", main(["figures", "digits", "--output", "out"]))
print("NEW", main(["regress"]))
for name in set(METHODS.own) - {"dpq", "plain-net", "sampled"}:  # to be quicker
    del METHODS.own[name]
regress.SEEDS = (0, 1)
Path("benchmarks/regression/digits.toml").write_text(Path("tiny.toml").read_text())
print("STATUS", main(["regress", "--update"]), main(["regress"]))
"""


def document():
    """The file that the page shows."""
    page = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return block


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (folder / "tests/benchmarks").mkdir()
    for name in TESTS:
        shutil.copy(ROOT / "tests/benchmarks" / name, folder / "tests/benchmarks")
    (folder / "tiny.toml").write_text("limit = 100\n" + TINY)
    (folder / "baselines/sampled.py").write_text(document(), encoding="utf-8")
    (folder / "baselines/plain_net.py").write_text(PLAIN, encoding="utf-8")
    return folder


def python(folder, *arguments):
    """What Python prints on both streams."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DPQ_DATA_ROOT", "DPQ_WEIGHTS")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_one_file_runs_and_is_in_help_tables_figures_and_regression(copy):
    status, printed = python(copy, "-c", SCRIPT)
    assert status == 0, printed
    assert re.findall(r"STATUS (.*)", printed) == ["0", "0", "0 0", "0", "0 0"], printed
    known = ", ".join([*METHODS.own, "plain-net", "sampled"])
    assert f"of {known}; or all" in re.sub(r"- (?=\w)", "-", " ".join(printed.split()))  # broken after hyphens too
    table = (copy / "out/digits/table.md").read_text()
    rows = [line.split("|")[1].strip() for line in table.split("mAP:")[1].splitlines() if "| ours" in line]
    assert rows == ["DPQ", "Plain net", "Plain net, trained at 16 bits and truncated", "Sampled on frozen features"]
    for name in ("map", "training", "ties"):  # of both methods' colour, which no other has
        assert UNSTYLED[0].lower() in (copy / f"out/digits/{name}.svg").read_text(), name
    assert "NEW 1" in printed
    assert "digits: methods.sampled.score is new; renew the reference with --update" in printed
    reference = json.loads((copy / "benchmarks/regression/digits.json").read_text())
    assert {"sampled, 8 bits, map", "plain-net, 8 bits, map"} <= set(reference["metrics"])
    assert "plain-net, pairwise" in reference["terms"]


def test_one_file_keeps_the_promises_of_every_method(copy):
    arguments = ("-m", "pytest", "tests/benchmarks/test_conformance.py", "-k", "sampled or plain-net")
    status, printed = python(copy, *arguments, "-p", "no:cacheprovider")
    assert status == 0, printed
    assert int(re.search(r"(\d+) passed", printed)[1]) >= 32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('title="Plain net"', "title=Plain.name"),
        ("    progressive=False,\n", ""),
    ],
)
def test_what_must_be_read_without_importing_the_file_is_asked_for(copy, change, said):
    path = copy / "baselines/unclear.py"
    path.write_text(PLAIN.replace(change, said), encoding="utf-8")
    status, printed = python(copy, "-c", "from benchmarks.setting.methods import METHODS")
    path.unlink()
    assert status == 1
    assert "METHOD of baselines.unclear needs title and progressive, by name, and literals for title" in printed
