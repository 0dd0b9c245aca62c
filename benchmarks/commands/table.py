"""`table`: the tables of an experiment, or a check of the written ones."""

from __future__ import annotations

import argparse

from benchmarks.commands import WHOLE, Command
from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.options import Option, shared


def run(options: argparse.Namespace) -> None:
    """Write the tables, or check them."""
    load_experiment(options.experiment)
    from benchmarks.brought.table import brought_lines
    from benchmarks.records.record import BUDGETS
    from benchmarks.report import generated
    from benchmarks.report.study import Study
    from benchmarks.report.tables import SOMETIMES, make_tables, short_table
    from dpq.files.places import is_file

    study = Study.read(options.output, options.experiment)
    files = make_tables(study)
    if options.check:
        generated.check(study.folder, files, SOMETIMES, f"table {options.experiment}")
        print(f"the tables of {options.experiment} are what its records give")
        return
    for path in generated.write(study.folder, files, SOMETIMES):
        print(path)
    for section in study.readings:
        if section.reading == BUDGETS or section.other:
            print(f"{section.reading}:")
        print(short_table(section))
    for line in (line for record in study.brought for line in brought_lines(record)):
        print(line)
    if is_file(picture := study.folder / "map.png"):
        print(f"its picture: {picture}")


COMMAND = Command(
    "table",
    run,
    [Option("--check", "only check that the tables are what the records give"), *shared("experiment", "--output")],
    WHOLE,
    "write table.md, table.csv and table.tex from the records",
)
