"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from dpq.interrupts import NOT_BEGUN, interruption

if __name__ == "__main__":  # before the imports below, which take seconds
    interruption.install()

from tqdm.contrib.logging import logging_redirect_tqdm

from benchmarks import commands
from benchmarks.ablations import ABLATIONS
from benchmarks.advice import advice_for
from benchmarks.config import known_experiments
from benchmarks.exhibits.shape import PARTS
from benchmarks.methods import METHODS
from benchmarks.regress import Moved
from benchmarks.shards import shard
from benchmarks.submission import add_submission
from dpq.command_line import Parser, positive, status_of
from dpq.images import Views
from dpq.protocols import PROTOCOLS

EXAMPLES = """examples:
  python -m benchmarks run digits                      train on the bundled digits, a minute or two
  python -m benchmarks run cifar10 --data-root DIR     the full protocol; DIR holds CIFAR-10
  python -m benchmarks run cifar10 --dry-run           what would be done, and what it costs
  python -m benchmarks table digits                    tables from the records
"""
# How to go on after Ctrl-C.
ADVICE = {
    "run": "finished epochs and records are kept; the same command goes on from there",
    "evaluate": "records are whole, renewed or as they were; the same command does all of them",
    "exhibit": "finished exhibits are kept; the same command makes the others",
    "check-data": "nothing is kept; the same command reads the copy from the start",
    "regress": "nothing is kept; the same command starts anew",
    **dict.fromkeys(("table", "figures", "results"), "files are whole, new or old; the same command makes all of them"),
}


def numbers(text: str) -> list[int]:
    """Comma-separated integers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None


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
    _add_run(subparsers)
    table = subparsers.add_parser("table", help="write table.md, table.csv and table.tex from the records")
    table.add_argument("--check", action="store_true", help="only check that the tables are what the records give")
    figures = subparsers.add_parser("figures", help="draw the figures from the records (needs the extra 'figures')")
    for command in (table, figures):
        command.add_argument("experiment", metavar="EXPERIMENT", help=f"one of {', '.join(known_experiments())}")
        _add_output(command)
    results = subparsers.add_parser(
        "results",
        help="write the pages of all published experiments: tables, figures, claims, README",
        description="From the records of every published experiment: its tables, figures and rows.md, and over all of "
        "them CLAIMS.md, which decides the paper's claims, and README.md. Needs the extra 'figures'.",
    )
    results.add_argument("--check", action="store_true", help="only check that all of them are what the records give")
    _add_output(results)
    _add_check_data(subparsers)
    _add_regress(subparsers)
    evaluate = subparsers.add_parser(
        "evaluate", help="compute every ranking metric again from the stored codes, and renew the records"
    )
    _add_records(evaluate)
    _add_exhibit(subparsers)
    return parser


def _add_exhibit(subparsers: argparse._SubParsersAction[Parser]) -> None:
    exhibit = subparsers.add_parser(
        "exhibit",
        help="make small files from the stored codes and the images, which figures then need no more",
        description="Write <output>/<experiment>/exhibits/<id>-PART.json beside the records, small enough to commit. "
        "ties: mAP by a plain argsort with the database in three orders. projection: t-SNE of 1,000 database images, "
        "reconstructed at every code length. gallery: the ten nearest images of five queries at every length, with a "
        "PNG of all of them. One that exists is not made again. The raw codes <id>.npz must lie beside the record; "
        "projection and gallery need the data set as well.",
    )
    _add_records(exhibit)
    exhibit.add_argument(
        "--parts", nargs="+", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (default: all of them)"
    )
    _add_data_root(exhibit)
    _add_reading(exhibit)
    exhibit.add_argument("--force", action="store_true", help="make those anew that exist")


def _add_check_data(subparsers: argparse._SubParsersAction[Parser]) -> None:
    check = subparsers.add_parser(
        "check-data",
        help="read a copy of a data set from end to end, and say what it is fit for",
        description="Count, open and decode every image of a copy; compare its lists and labels with the published "
        "ones; name what is missing, unreadable, repeated or shared by queries and training images. Without "
        "--data-root: what to get, and from where. The exit status is 2 unless the copy is the published data. "
        "folder: images of your own; the exit status is 2 unless all of them can be used.",
    )
    check.add_argument("protocol", metavar="PROTOCOL", help=f"one of {', '.join(PROTOCOLS)}")
    _add_data_root(check)
    _add_reading(check)
    check.add_argument(
        "--report", type=Path, metavar="FILE", help="where everything is named (default: check-PROTOCOL.txt)"
    )


def _add_records(parser: Any) -> None:
    parser.add_argument(
        "records", metavar="RECORD", type=Path, nargs="+", help="a file <output>/<experiment>/runs/<id>.json"
    )


def _add_reading(parser: Any) -> None:
    parser.add_argument(
        "--strip-prefix", metavar="PREFIX", help="what to take off the paths in lists that name other machines' folders"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes that decode images (default: one a core, at most 8)"
    )


def _add_data_root(parser: Any) -> None:
    parser.add_argument(
        "--data-root",
        type=Path,
        default=os.environ.get("DPQ_DATA_ROOT"),
        metavar="DIR",
        help="folder of the data set; environment: DPQ_DATA_ROOT",
    )


def _add_regress(subparsers: argparse._SubParsersAction[Parser]) -> None:
    regress = subparsers.add_parser(
        "regress",
        help="check every method on small data against the committed reference",
        description="Run every method on digits, and on 1,000 images of CIFAR-10 where data and weights are given, and "
        "compare settings, loss terms and metrics with the committed reference. The exit status is 1 if one moved.",
    )
    regress.add_argument("--update", action="store_true", help="make the reference anew, from five seeds")
    _add_inputs(regress)


def _add_inputs(parser: Any) -> None:
    parser.add_argument(
        "--weights",
        default=os.environ.get("DPQ_WEIGHTS"),
        metavar="FILE|none",
        help="backbone weights (safetensors or torch); none starts from scratch; environment: DPQ_WEIGHTS",
    )
    _add_data_root(parser)
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="auto takes a GPU if there is one")


def _add_output(parser: Any) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("results"), metavar="DIR", help="folder of results (default: results)"
    )


def _add_run(subparsers: argparse._SubParsersAction[Parser]) -> None:
    run = subparsers.add_parser(
        "run",
        help="train, encode, evaluate; what is done already is not repeated",
        description="Train each method, once per seed or once per seed and code length, and evaluate it at all code "
        "lengths. An interrupted run goes on from its last epoch when the same command is given again; a finished one "
        "is not repeated.",
    )
    run.add_argument("experiment", metavar="EXPERIMENT", help=f"one of {', '.join(known_experiments())}")
    what = run.add_argument_group("what to run")
    what.add_argument(
        "--method",
        nargs="+",
        default=["all"],
        metavar="NAME",
        help=f"of {', '.join(METHODS)}, or all of this repository's own (default)",
    )
    what.add_argument(
        "--bits",
        type=numbers,
        metavar="8,16,24,32",
        help="code lengths; progressive methods train the longest, the others each",
    )
    what.add_argument("--seeds", type=numbers, metavar="0,1,2", help="repetitions of every training")
    what.add_argument(
        "--split-seeds", type=numbers, metavar="0,1,2", help="draws of the images, or of the classes that are held out"
    )
    what.add_argument(
        "--variant",
        default="paper",
        metavar="paper|released",
        help="DPQ and DTQ as their papers say (default) or as their released codes do",
    )
    what.add_argument(
        "--ablation",
        nargs="+",
        metavar="NAME",
        help=f"instead of the methods, DPQ with one thing changed: {', '.join(ABLATIONS)}, or all",
    )
    setting = run.add_argument_group("changes to the experiment's setting")
    setting.add_argument(
        "--protocol",
        metavar="folder",
        help="the images of your own in --data-root, by class folders or manifest.csv; results are those of `own`",
    )
    setting.add_argument("--backbone", metavar="TIMM_NAME", help="any timm model")
    setting.add_argument("--image-size", type=positive, metavar="N", help="side of the network input in pixels")
    setting.add_argument("--epochs", type=positive, metavar="N", help="passes over the training images")
    setting.add_argument("--precision", metavar="32|bf16", help="of the backbone")
    setting.add_argument(
        "--views",
        metavar="|".join(get_args(Views)),
        help="evaluate on the centre crop, or on the mean embedding of it and its mirror image, or of ten crops; needs "
        "no new training",
    )
    setting.add_argument(
        "--label-vectors",
        metavar="FILE",
        help="word vectors for the margin, one row a class (default: orthonormal); with --ablation, those of `words`",
    )
    setting.add_argument(
        "--limit", type=positive, metavar="N", help="a class-balanced subset of about N images in every split"
    )
    setting.add_argument(
        "--validation",
        action="store_true",
        help="hold out a fifth of the training images as queries and database, to choose settings",
    )
    where = run.add_argument_group("where and how")
    _add_inputs(where)
    _add_reading(where)
    where.add_argument(
        "--allow-missing",
        type=positive,
        default=0,
        metavar="N",
        help="go on with a copy that lacks up to N of its images; records and tables say so",
    )
    _add_output(where)
    where.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="only the I-th of N parts of the work, for another machine or an array job to do the others",
    )
    add_submission(where)
    where.add_argument("--force", action="store_true", help="do finished runs again, from the start")
    where.add_argument("--dry-run", action="store_true", help="print the plan and its cost, and do nothing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for a regression, 2 for a mistake of the caller, 130 when interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return status_of(lambda: _run(sys.argv[1:] if arguments is None else arguments), advice_for)
    except Moved as moved:
        print(f"regression:\n{moved}", file=sys.stderr)
        return 1


def _run(arguments: Sequence[str]) -> None:
    with interruption.interruptible(NOT_BEGUN):
        options = make_parser().parse_args(arguments, argparse.Namespace(arguments=arguments))
    with interruption.interruptible(ADVICE[options.command]), logging_redirect_tqdm():
        getattr(commands, options.command.replace("-", "_"))(options)


if __name__ == "__main__":
    sys.exit(main())
