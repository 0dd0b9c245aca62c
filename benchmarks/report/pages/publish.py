"""Everything under `results/` that is made from records: tables, figures, pages; written, or compared byte for byte."""

from __future__ import annotations

import logging
from pathlib import Path

from benchmarks.bench.page import make_pages, stale_pages
from benchmarks.figures import FIGURES, figure_files, make_figures
from benchmarks.report import generated
from benchmarks.report.claims import find, make_claims_page
from benchmarks.report.pages.results import CLAIMS_PAGE, make_results_page
from benchmarks.report.pages.rows import make_row_page
from benchmarks.report.study import Study
from benchmarks.report.tables import ABLATIONS_CSV, make_tables
from benchmarks.setting.experiment import UNPUBLISHED, known_experiments
from dpq.errors import InputError

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


def make_all(output: Path) -> dict[str, str | bytes]:
    """Every generated file by its path below `output`.

    Raises:
        InputError: no records, one of another package's method, or matplotlib is not installed.
    """
    files: dict[str, str | bytes] = {}
    studies = [Study.read(output, name) for name in published(output)]
    for study in studies:
        _refuse_plugins(study)
        log.info("%s", study.experiment)
        made: generated.Files = {**make_tables(study), "rows.md": make_row_page(study), **make_figures(study)}
        files |= {f"{study.experiment}/{file}": content for file, content in made.items()}
    files |= make_pages(output)
    findings = find(studies)
    files[CLAIMS_PAGE] = make_claims_page(findings)
    captions = {name: caption for name, (_, caption) in FIGURES.items()}
    files["README.md"] = make_results_page(studies, findings, sorted(files), captions)
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
    return generated.write(output, make_all(output), _possible(output))


def check_all(output: Path) -> int:
    """Refuse files that are not what the records give; the number of files that are.

    Raises:
        InputError: names the first file that differs, is missing, or is made by nothing.
    """
    return generated.check(output, make_all(output), _possible(output), "results")


def _possible(output: Path) -> set[str]:
    """Files that are not made of all records."""
    own = {f"{name}/{file}" for name in published(output) for file in (ABLATIONS_CSV, *figure_files())}
    return own | {path.relative_to(output).as_posix() for path in stale_pages(output, {})}
