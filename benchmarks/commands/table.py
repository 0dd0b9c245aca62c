"""`table`: the tables of an experiment, or a check of the written ones."""

from __future__ import annotations

import argparse

from benchmarks.commands import WHOLE, Command
from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.options import Option, shared


def run(options: argparse.Namespace) -> None:
    """Write the tables, or check them."""
    load_experiment(options.experiment)
    from benchmarks.report.study import Study
    from benchmarks.report.tables import check_tables, write_tables

    study = Study.read(options.output, options.experiment)
    if options.check:
        check_tables(study)
        print(f"the tables of {options.experiment} are what its records give")
        return
    for path in write_tables(study):
        print(path)


COMMAND = Command(
    "table",
    run,
    [Option("--check", "only check that the tables are what the records give"), *shared("experiment", "--output")],
    WHOLE,
    "write table.md, table.csv and table.tex from the records",
)
