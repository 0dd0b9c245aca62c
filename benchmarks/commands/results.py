"""`results`: every table, figure and page of the committed results, or a check of the written ones."""

from __future__ import annotations

import argparse

from benchmarks.commands import WHOLE, Command
from benchmarks.setting.options import Option, shared


def run(options: argparse.Namespace) -> None:
    """Write the results, or check them."""
    from benchmarks.report.pages.publish import check_all, write_all

    if options.check:
        print(f"{check_all(options.output)} files under {options.output} are what the records give")
        return
    for path in write_all(options.output):
        print(path)


COMMAND = Command(
    "results",
    run,
    [Option("--check", "only check that all of them are what the records give"), *shared("--output")],
    WHOLE,
    "write the pages of all published experiments: tables, figures, claims, README",
    "From the records of every published experiment: its tables, figures and rows.md, and over all of them CLAIMS.md, "
    "which decides the paper's claims, and README.md. Needs the extra 'figures'.",
)
