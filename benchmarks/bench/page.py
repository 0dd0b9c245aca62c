"""The page of all written benchmarks, `results/bench/README.md`, and its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench.report import FOLDER, read_reports, render
from benchmarks.figures.style import files_of, style
from dpq.files.atomic import write_atomically

PAGE = f"{FOLDER}/README.md"
HEAD = """# Speed and memory

Made by `nox -s bench` from generated data; every section is one report, `<name>.json` beside this page. Ratios are
medians over rounds in which both sides are timed in turns in one process, with the smallest and largest round: seconds
depend on the machine and on what else it does, ratios far less.
"""
FIGURE = "growth"  # the report that is drawn
CAPTION = "How each cost grows: medians, and the power that fits them best."


def make_page(output: Path) -> str:
    """The page, from the written reports."""
    sections = [_section(name, report) for name, report in read_reports(output).items()]
    return "\n".join([HEAD, *(f"{section}\n" for section in sections)])


def make_pages(output: Path) -> dict[str, bytes]:
    """The page and its figures by their paths below `output`; nothing where there are no reports.

    Raises:
        InputError: a file that is no report, or matplotlib is not installed.
    """
    reports = read_reports(output)
    if not reports:
        return {}
    files = {PAGE: make_page(output).encode()}
    for name, report in reports.items():
        if report["name"] == FIGURE:
            files |= {f"{FOLDER}/{file}": content for file, content in _drawn(name, report).items()}
    return files


def write_pages(output: Path) -> list[Path]:
    """Write the page and its figures, and return their paths."""
    files = make_pages(output)
    for name, content in files.items():
        write_atomically(output / name, content)
    return [output / name for name in files]


def stale_pages(output: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """What was made of reports that are gone: pages and figures that are not among `files`."""
    for path in sorted((output / FOLDER).glob("*")):
        if path.suffix in (".md", ".svg", ".png") and f"{FOLDER}/{path.name}" not in files:
            yield path


def _section(name: str, report: Mapping[str, Any]) -> str:
    shown = f"\n\n[![{CAPTION}]({name}.png)]({name}.svg)" if report["name"] == FIGURE else ""
    return f"## {name}\n\n{render(report)}{shown}"


def _drawn(name: str, report: Mapping[str, Any]) -> dict[str, bytes]:
    from benchmarks.bench.growth_figure import growth_figure

    with style(FOLDER):
        return files_of(name, growth_figure(report))
