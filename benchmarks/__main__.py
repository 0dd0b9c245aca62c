"""The command line: `python -m benchmarks`. The commands themselves are in `benchmarks.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dpq.cli.interrupts import NOT_BEGUN, interruption

if __name__ == "__main__":  # before all else
    interruption.install()

from benchmarks.commands import (
    Command,
    check_data,
    compare,
    evaluate,
    exhibit,
    figures,
    regress,
    results,
    run,
    score,
    table,
    tune,
)
from benchmarks.setting.advice import OPTIONS
from dpq.cli.parser import Parser, status_of

EXAMPLES = """examples:
  python -m benchmarks run digits                      train on the bundled digits, a minute or two
  python -m benchmarks run cifar10 --data-root DIR     the full protocol; DIR holds CIFAR-10
  python -m benchmarks run cifar10 --dry-run           what would be done, and what it costs
  python -m benchmarks table digits                    tables from the records
"""
COMMANDS: dict[str, Command] = {
    file.COMMAND.name: file.COMMAND
    for file in (run, tune, table, compare, figures, results, check_data, regress, evaluate, score, exhibit)
}


def make_parser() -> Parser:
    """The parser with all sub-commands."""
    parser = Parser(
        prog="python -m benchmarks",
        description="Train deep quantization methods, evaluate them at every code length, and tabulate them\n"
        "beside the papers' numbers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add_to(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for a regression, 2 for a mistake of the caller, 130 when interrupted."""
    return status_of(lambda: _run(sys.argv[1:] if arguments is None else arguments), OPTIONS)


def _run(arguments: Sequence[str]) -> int | None:
    with interruption.interruptible(NOT_BEGUN):
        options = make_parser().parse_args(arguments, argparse.Namespace(arguments=arguments))
    command = COMMANDS[options.command]
    with interruption.interruptible(command.advice):
        from tqdm.contrib.logging import logging_redirect_tqdm

        with logging_redirect_tqdm():
            return command.action(options)


if __name__ == "__main__":
    sys.exit(main())
