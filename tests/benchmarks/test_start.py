"""Help and mistakes are there at once: nothing slow is imported before a command works."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
SLOW = {"PIL", "matplotlib", "numpy", "pandas", "pydantic", "scipy", "sklearn", "timm", "torch", "torchvision"}
HELP = ["benchmarks --help", *(f"benchmarks {name} --help" for name in COMMANDS)]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        *((command, 0) for command in (*HELP, "dpq --help", "dpq train --help", "dpq index build --help")),
        ("benchmarks run nope", 2),
        ("benchmarks run digits --method nope", 2),
        ("benchmarks run digits --epochs 0", 2),
        ("benchmarks run digits --precision 8", 2),
        ("benchmarks table nope", 2),
        ("benchmarks nope", 2),
        ("benchmarks check-data nuswide21", 2),
        ("dpq nope", 2),
    ],
)
def test_nothing_slow_is_imported(command, status, monkeypatch):
    monkeypatch.delenv("DPQ_DATA_ROOT", raising=False)
    arguments = [sys.executable, "-X", "importtime", "-m", *command.split()]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    imported = {line.split("|")[-1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    said = [line for line in lines if not line.startswith("import time:")]
    reading = {"pydantic"} if "digits" in command else set()  # checks the file of an experiment
    assert (done.returncode, imported & SLOW - reading, len(said)) == (status, set(), int(status != 0)), said
    assert {"argparse", "dpq"} <= imported
