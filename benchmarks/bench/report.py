"""What a benchmark found: tables, and promises that were kept or not. As JSON, and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from dpq.errors import InputError
from dpq.files.atomic import write_atomically

if TYPE_CHECKING:
    import torch

SCHEMA_VERSION = 1
FOLDER = "bench"  # below the folder of results

Row = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        device: to measure on.
        threads: most threads on the CPU.
        quick: small sizes, to see that everything works; the numbers say little.
    """

    device: torch.device
    threads: int
    quick: bool = False

    def size(self, full: int, quick: int) -> int:
        """`full`, or `quick` where small sizes are asked for."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Promise:
    """A bound that the suite sets itself.

    Attributes:
        what: is bounded, as a phrase that its value completes.
        measured: value.
        bound: that it is held to.
        side: whether it should be at least or at most that.
    """

    what: str
    measured: float
    bound: float
    side: Literal["at least", "at most"]

    @property
    def kept(self) -> bool:
        """Whether the measured value is on the right side."""
        return self.measured >= self.bound if self.side == "at least" else self.measured <= self.bound


@dataclass(frozen=True)
class Table:
    """Rows of one table, all with the same columns; numbers are printed as they are, so round them."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Report:
    """What one benchmark found.

    Attributes:
        name: of the benchmark.
        about: what was measured against what, at which sizes: one or two sentences.
        tables: at least one.
        promises: bounds, with the measured values.
        notes: what limits a number, or explains it.
    """

    name: str
    about: str
    tables: Sequence[Table]
    promises: Sequence[Promise] = ()
    notes: Sequence[str] = field(default=())


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
        "quick": options.quick,
        "environment": describe_environment(options.device),
    }


def read_reports(output: Path) -> dict[str, dict[str, Any]]:
    """All written reports by file name without its ending, in that order.

    Raises:
        InputError: a file that is no report.
    """
    found = {}
    for path in sorted((output / FOLDER).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}; make it again: python -m benchmarks.bench") from error
        if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"{path} is no report of schema {SCHEMA_VERSION}: python -m benchmarks.bench makes one")
        found[path.stem] = content
    return found


def render(report: Mapping[str, Any]) -> str:
    """Markdown of a report as it is written: what was measured, the promises, the tables, the notes."""
    parts = [str(report["about"]), _where(report["environment"])]
    if report["promises"]:
        parts.append(_promises([Promise(**one) for one in report["promises"]]))
    for table in report["tables"]:
        parts += [f"{table['title']}:", _grid(table["rows"])]
    parts += list(report["notes"])
    return "\n\n".join(parts)


def _promises(promises: Sequence[Promise]) -> str:
    rows = [
        {
            "promise": f"{one.what}, {one.side} {one.bound:g}",
            "measured": f"{one.measured:.3g}",
            "kept": "yes" if one.kept else "**no**",
        }
        for one in promises
    ]
    return _grid(rows)


def _grid(rows: Sequence[Row]) -> str:
    return str(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))


def _where(environment: Mapping[str, Any]) -> str:
    place = environment["cpu"] if environment["device"] == "cpu" else environment["device"]
    threads = environment["threads"]
    return (
        f"Measured on {place}, {threads} thread{'s' if threads != 1 else ''}, torch {environment['torch']}, "
        f"Python {environment['python']}, commit {str(environment['commit'])[:7]}."
    )
