"""`results`: every table, figure and page of the committed results, or a check of the written ones, byte for byte."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from benchmarks.commands import WHOLE, Command
from benchmarks.setting.experiment import UNPUBLISHED, known_experiments
from benchmarks.setting.options import Option, shared
from dpq.errors import InputError
from dpq.files.places import matching

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]  # of the checkout, whose README shows the main result

# The order of the page; experiments that are not named here follow by name.
ORDER = ("cifar10", "cifar10-cpu", "cifar10-unseen", "cifar100-cpu", "cifar100", "cifar100-unseen")


def run(options: argparse.Namespace) -> None:
    """Write the results, or check them."""
    from benchmarks.report import generated

    if options.parquet:
        _write_parquet(options.output, options.parquet)
        print(options.parquet)
        return
    files, possible = make_all(options.output)
    if options.check:
        checked = generated.check(options.output, files, possible, "results")
        print(f"{checked} files under {options.output} are what the records give")
        return
    for path in generated.write(options.output, files, possible):
        print(path)


def published(output: Path) -> list[str]:
    """The experiments that have records and are published.

    Raises:
        InputError: there are none.
    """
    names = [name for name in known_experiments() if matching(output / name / "runs", "*.json")]
    names = [name for name in names if name not in UNPUBLISHED]
    if not names:
        raise InputError(f"no records of a published experiment under {output}; make some: python -m benchmarks run")
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def make_all(output: Path) -> tuple[dict[str, str | bytes], set[str]]:
    """Every generated file by its path below `output`, and the paths of those that are not made of all records.

    Raises:
        InputError: no records, one of another package's method or of brought codes, or matplotlib is not installed.
    """
    from benchmarks.bench import report as bench
    from benchmarks.figures import FIGURES, figure_files, make_figures
    from benchmarks.report import generated
    from benchmarks.report.claims import find, make_claims_page
    from benchmarks.report.pages.comparison import COMPARISON_PAGE, make_comparison_page
    from benchmarks.report.pages.readme import with_main_result
    from benchmarks.report.pages.results import CLAIMS_PAGE, ERRATA_PAGE, make_errata_page, make_results_page
    from benchmarks.report.pages.rows import make_row_page
    from benchmarks.report.study import Study
    from benchmarks.report.tables import RESULTS_CSV, SOMETIMES, make_results_csv, make_tables
    from benchmarks.report.verdicts import POINT
    from benchmarks.tuning.study import read_studies

    read_studies(output)  # an unusable one is refused, whatever it is of
    files: dict[str, str | bytes] = {}
    pages = (path for path in matching(output / bench.FOLDER, "*") if path.suffix in (".md", ".svg", ".png"))
    possible = {f"{bench.FOLDER}/{path.name}" for path in pages}
    studies = [Study.read(output, name) for name in published(output)]
    for study in studies:
        for each in study.brought:
            raise InputError(
                f"{study.experiment}/runs/{each.id}.json is of codes that were brought, and these pages are of what "
                "this repository made; keep such records under another --output"
            )
        for record in study.records:
            if record.plugin is not None:
                raise InputError(
                    f"{study.experiment}/runs/{record.id}.json is of a method of {record.plugin.package}, and these "
                    "pages are of this repository's methods alone; keep such runs under another --output"
                )
        log.info("%s", study.experiment)
        made: generated.Files = {**make_tables(study), "rows.md": make_row_page(study), **make_figures(study)}
        files |= {f"{study.experiment}/{file}": content for file, content in made.items()}
        possible |= {f"{study.experiment}/{file}" for file in (*SOMETIMES, *figure_files())}
    files |= bench.make_pages(output)
    files[RESULTS_CSV] = make_results_csv(studies)
    findings = find(studies)
    files[CLAIMS_PAGE] = make_claims_page(findings)
    files[ERRATA_PAGE] = make_errata_page()
    files[COMPARISON_PAGE] = make_comparison_page(studies, POINT)
    if output.resolve() == ROOT / "results":
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        files["../README.md"] = with_main_result(readme, studies)
    captions = {name: caption for name, (_, caption) in FIGURES.items()}
    files["README.md"] = make_results_page(studies, findings, sorted(files), captions)
    return files, possible


def _write_parquet(output: Path, path: Path) -> None:
    """The rows of results.csv, unrounded, as a Parquet file.

    Raises:
        InputError: no records, or pyarrow is not installed.
    """
    import io

    from benchmarks.report.study import Study
    from benchmarks.report.tables import every_length
    from dpq.files.atomic import write_atomically

    table, stream = every_length([Study.read(output, name) for name in published(output)]), io.BytesIO()
    try:
        table.to_parquet(stream, engine="pyarrow", index=False)
    except ImportError as error:
        raise InputError("Parquet files need pyarrow; install it with: pip install '.[parquet]'") from error
    write_atomically(path, stream.getvalue())


COMMAND = Command(
    "results",
    run,
    [
        Option("--check", "only check that all of them are what the records give"),
        Option("--parquet", "write no page, but the rows of results.csv to this file (extra 'parquet')", "FILE", Path),
        *shared("--output"),
    ],
    WHOLE,
    "write the pages of all published experiments: tables, figures, claims, README",
    "From the records of every published experiment: its tables, figures and rows.md, and over all of them CLAIMS.md, "
    "which decides the paper's claims, COMPARISON.md, which puts all methods in one order, README.md, and results.csv, "
    "which has every length of every record. Needs the extra 'figures'.",
)
