"""Everything under `results/` that is made from records: tables, figures, pages; written, or compared byte for byte."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench.page import make_pages, stale_pages
from benchmarks.claims import find, make_claims_page
from benchmarks.config import UNPUBLISHED, known_experiments
from benchmarks.figures import figure_files, make_figures
from benchmarks.results_page import CLAIMS_PAGE, make_results_page
from benchmarks.row_pages import make_row_page
from benchmarks.study import Study
from benchmarks.tables import ABLATIONS_CSV, make_tables
from dpq.errors import InputError
from dpq.files import write_atomically

log = logging.getLogger(__name__)

# The order of the page; experiments that are not named here follow by name.
ORDER = ("cifar10-cpu", "cifar10", "cifar10-unseen")


def published(output: Path) -> list[str]:
    """The experiments that have records and are published.

    Raises:
        InputError: there are none.
    """
    names = [name for name in known_experiments() if any((output / name / "runs").glob("*.json"))]
    names = [name for name in names if name not in UNPUBLISHED]
    if not names:
        raise InputError(f"no records of a published experiment under {output}; make some: python -m benchmarks run")
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def make_all(output: Path) -> dict[str, bytes]:
    """Every generated file by its path below `output`.

    Raises:
        InputError: no records, one of another package's method, or matplotlib is not installed.
    """
    files: dict[str, bytes] = {}
    studies = [Study.read(output, name) for name in published(output)]
    for study in studies:
        _refuse_plugins(study)
        log.info("%s", study.experiment)
        texts = {**make_tables(study), "rows.md": make_row_page(study)}
        made = {file: text.encode() for file, text in texts.items()} | make_figures(study)
        files |= {f"{study.experiment}/{file}": content for file, content in made.items()}
    files |= make_pages(output)
    findings = find(studies)
    files[CLAIMS_PAGE] = make_claims_page(findings).encode()
    files["README.md"] = make_results_page(studies, findings, sorted(files)).encode()
    return files


def _refuse_plugins(study: Study) -> None:
    for record in study.records:
        if record.plugin is not None:
            raise InputError(
                f"{study.experiment}/runs/{record.id}.json is of a method of {record.plugin.package}, and these pages "
                "are of this repository's methods alone; keep such runs under another --output"
            )


def write_all(output: Path) -> list[Path]:
    """Write every generated file, and delete those that nothing makes any more."""
    files = make_all(output)
    for name, content in files.items():
        write_atomically(output / name, content)
    for stale in _stale(output, files):
        stale.unlink()
    return [output / name for name in files]


def check_all(output: Path) -> int:
    """Refuse files that are not what the records give; the number of files that are.

    Raises:
        InputError: names the first file that differs, is missing, or is made by nothing.
    """
    files = make_all(output)
    for name, content in files.items():
        path = output / name
        if not path.is_file() or path.read_bytes() != content:
            raise InputError(f"{path} is not what the records give; renew it with: python -m benchmarks results")
    for stale in _stale(output, files):
        raise InputError(f"{stale} is made from no record; remove it with: python -m benchmarks results")
    return len(files)


def _stale(output: Path, files: dict[str, bytes]) -> Iterator[Path]:
    """Generated files of records that are gone."""
    for name in published(output):
        for file in (ABLATIONS_CSV, *sorted(figure_files())):
            if f"{name}/{file}" not in files and (output / name / file).exists():
                yield output / name / file
    yield from stale_pages(output, files)
