"""The page of all written benchmarks, `results/bench/README.md`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench.report import FOLDER, read_reports, render
from dpq.files import write_atomically

HEAD = """# Speed and memory

Made by `nox -s bench` from generated data; every section is one report, `<name>.json` beside this page. Ratios are
medians over rounds in which both sides are timed in turns in one process, with the smallest and largest round: seconds
depend on the machine and on what else it does, ratios far less.
"""


def make_page(output: Path) -> str:
    """The page, from the written reports."""
    sections = [f"## {name}\n\n{render(report)}" for name, report in read_reports(output).items()]
    return "\n".join([HEAD, *(f"{section}\n" for section in sections)])


def write_page(output: Path) -> Path:
    """Write the page and return its path."""
    path = output / FOLDER / "README.md"
    write_atomically(path, make_page(output))
    return path
