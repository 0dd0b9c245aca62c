"""What a benchmark found: tables, and promises that were kept or not. As JSON, as text, and on the page of them all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from benchmarks.bench.growth_figure import growth_figure
from benchmarks.figures.style import files_of, style
from benchmarks.report.generated import BENCH_PAGE
from dpq.errors import InputError
from dpq.files.atomic import write_atomically
from dpq.files.places import matching

if TYPE_CHECKING:
    import torch

SCHEMA_VERSION = 1
FOLDER = "bench"  # below the folder of results
HEAD = """# Speed and memory

Made by `nox -s bench` from generated data; every section is one report, `<name>.json` beside this page. Ratios are
medians over rounds in which both sides are timed in turns in one process, with the smallest and largest round: seconds
depend on the machine and on what else it does, ratios far less.
"""
DRAWN = {"growth": "medians", "runs": "seconds"}  # the reports that have a figure, and what it shows
CAPTION = "How each cost grows: {}, and the power that fits them best."

Row = Mapping[str, Any]  # text and numbers by column


@dataclass(frozen=True)
class Options:
    """How to measure."""

    device: torch.device
    threads: int  # most of them, on the CPU
    quick: bool = False  # small sizes, to see that everything works; the numbers say little

    def size(self, full: int, quick: int) -> int:
        """`full`, or `quick` where small sizes are asked for."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Promise:
    """A bound that the suite sets itself."""

    what: str  # is bounded, as a phrase that the side and the bound complete
    measured: float
    bound: float
    side: Literal["at least", "at most"]

    @property
    def kept(self) -> bool:
        """Whether the measured value is on the right side."""
        return self.measured >= self.bound if self.side == "at least" else self.measured <= self.bound


@dataclass(frozen=True)
class Report:
    """What one benchmark found."""

    name: str  # of the benchmark
    about: str  # what was measured against what, at which sizes: one or two sentences
    tables: Mapping[str, Sequence[Row]]  # by title; numbers are printed as they are, so round them
    promises: Sequence[Promise] = ()
    notes: Sequence[str] = ()  # what limits a number, or explains it


def write_report(output: Path, report: Report, options: Options) -> Path:
    """Write `<output>/bench/<name>.json`, for a GPU `<name>-cuda.json`, and return its path."""
    suffix = "-cuda" if options.device.type == "cuda" else ""
    path = output / FOLDER / f"{report.name}{suffix}.json"
    write_atomically(path, json.dumps(as_written(report, options), indent=1, allow_nan=False) + "\n")
    return path


def as_written(report: Report, options: Options) -> dict[str, Any]:
    """The content of a report's file: the report, and where it was measured."""
    from benchmarks.running.environment import describe_environment  # with torch, which reading reports does without

    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(report),
        "tables": [{"title": title, "rows": rows} for title, rows in report.tables.items()],
        "quick": options.quick,
        "environment": describe_environment(options.device),
    }


def read_reports(output: Path) -> dict[str, dict[str, Any]]:
    """All written reports by file name without its ending, in that order.

    Raises:
        InputError: a file that is no report.
    """
    found = {}
    for path in matching(output / FOLDER, "*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}; make it again: python -m benchmarks.bench") from error
        if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"{path} is no report of schema {SCHEMA_VERSION}: python -m benchmarks.bench makes one")
        found[path.stem] = content
    return found


def make_pages(output: Path) -> dict[str, bytes]:
    """The page of all written reports and its figures, by their paths below `output`; nothing without reports.

    Raises:
        InputError: a file that is no report, or matplotlib is not installed.
    """
    sections, files = [HEAD], dict[str, bytes]()
    for name, report in read_reports(output).items():
        sections.append(f"## {name}\n\n{render(report)}\n")
        if report["name"] in DRAWN:
            caption = CAPTION.format(DRAWN[report["name"]])
            sections.append(f"[![{caption}]({name}.png)]({name}.svg)\n")
            with style(FOLDER):
                drawn = files_of(name, growth_figure(report))
            files |= {f"{FOLDER}/{file}": content for file, content in drawn.items()}
    return {BENCH_PAGE: "\n".join(sections).encode(), **files} if len(sections) > 1 else {}


def render(report: Mapping[str, Any]) -> str:
    """Markdown of a report as it is written: what was measured, the promises, the tables, the notes."""
    environment = report["environment"]
    place = environment["cpu"] if environment["device"] == "cpu" else environment["device"]
    threads = f"{environment['threads']} thread{'s' if environment['threads'] != 1 else ''}"
    where = f"{place}, {threads}, torch {environment['torch']}, Python {environment['python']}"
    parts = [str(report["about"]), f"Measured on {where}, commit {str(environment['commit'])[:7]}."]
    promises = [
        {
            "promise": f"{one.what}, {one.side} {one.bound:g}",
            "measured": f"{one.measured:.3g}",
            "kept": "yes" if one.kept else "**no**",
        }
        for one in (Promise(**written) for written in report["promises"])
    ]
    if promises:
        parts.append(_grid(promises))
    for table in report["tables"]:
        parts += [f"{table['title']}:", _grid(table["rows"])]
    return "\n\n".join([*parts, *report["notes"]])


def _grid(rows: Sequence[Row]) -> str:
    return str(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))
