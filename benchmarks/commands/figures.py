"""`figures`: every figure of an experiment."""

from __future__ import annotations

import argparse

from benchmarks.commands import WHOLE, Command
from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.options import shared


def run(options: argparse.Namespace) -> None:
    """Draw the figures."""
    load_experiment(options.experiment)
    from benchmarks.figures import figure_files, make_figures
    from benchmarks.report import generated
    from benchmarks.report.study import Study

    study = Study.read(options.output, options.experiment)
    for path in generated.write(study.folder, make_figures(study), figure_files()):
        print(path)


COMMAND = Command(
    "figures",
    run,
    shared("experiment", "--output"),
    WHOLE,
    "draw the figures from the records (needs the extra 'figures')",
)
