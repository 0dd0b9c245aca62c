"""The command line: `python -m benchmarks.bench`, or `nox -s bench`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from dpq.cli.interrupts import interruption

if __name__ == "__main__":  # before the imports below, which take seconds
    interruption.install()

import torch

from benchmarks.bench.report import Options, as_written, make_pages, render, write_report
from benchmarks.report import generated
from benchmarks.running.environment import keep_freed_memory, resolve_device
from benchmarks.setting.advice import OPTIONS
from dpq.cli.parser import Parser, one_of, positive, status_of
from dpq.errors import InputError

log = logging.getLogger(__name__)

# Each is a module of `parts`.
BENCHMARKS = {
    "startup": "how long help, a mistake and a check of tables take, and how much memory",
    "evaluation": "all metrics of 1,000 queries among 54,000 images, against the obvious way to compute them",
    "encoding": "embeddings and codes of images, against inference of the bare backbone",
    "scale": "all metrics at the size of NUS-WIDE: time and memory",
    "quantizers": "k-means, initialisation, codes and iterated conditional modes, against Faiss",
    "search": "our codes in Faiss, against our ranking and Faiss's own quantizers: queries per second, recall",
    "growth": "how each cost grows with the database, levels, codebooks and batch: a figure",
    "training": "a step of each deep method and an epoch of DTQ, against the bare backbone and timm's own loop",
    "runs": "how time and memory of a whole run grow with images, classes, bits and seeds: a figure",
    "timeline": "where the time of a run goes, from start to figures; the whole of an experiment",
}
ON_GPU = ("encoding", "growth", "training", "runs", "timeline")  # what the others measure is work of the CPU
ADVICE = "the reports of finished benchmarks are kept; name the others to run them alone"
EXAMPLES = """examples:
  python -m benchmarks.bench                        everything, to results/bench
  python -m benchmarks.bench evaluation --quick     a look at one, at small sizes
  python -m benchmarks.bench --device cuda          what a GPU does, beside the files of the CPU
"""


def make_parser() -> Parser:
    """The parser."""
    names = "\n".join(f"  {name:12} {what}" for name, what in BENCHMARKS.items())
    parser = Parser(
        prog="python -m benchmarks.bench",
        description="Measure speed and memory on generated data; nothing is downloaded. Each benchmark times two ways "
        f"of doing the same in turns, and says whether\nwhat the suite promises holds:\n\n{names}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = one_of("benchmark", tuple(BENCHMARKS))
    parser.add_argument("names", nargs="*", type=known, metavar="BENCHMARK", help="which to run (default: all)")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda|auto", help="default: cpu")
    parser.add_argument("--threads", type=positive, metavar="T", help="on the CPU; default: as many as there are cores")
    parser.add_argument("--quick", action="store_true", help="small sizes, in minutes; written only with --output")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of results (default: results); reports go to DIR/bench"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks, print and write their tables; the exit status is 2 for a mistake, 130 for Ctrl-C."""
    return status_of(lambda: _run(arguments), OPTIONS)


@interruption.interruptible(ADVICE)
def _run(arguments: Sequence[str] | None) -> None:
    options = make_parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    chosen = Options(resolve_device(options.device), torch.get_num_threads(), options.quick)
    for name in options.names:
        if name not in ON_GPU and chosen.device.type != "cpu":
            raise InputError(f"{name} measures work of the CPU; run it without --device {options.device}")
    output = options.output or (None if options.quick else Path("results"))
    keep_freed_memory()
    for name in options.names or (BENCHMARKS if chosen.device.type == "cpu" else ON_GPU):
        log.info("%s: %s", name, BENCHMARKS[name])
        try:
            benchmark = import_module(f"benchmarks.bench.parts.{name}")
        except ModuleNotFoundError as error:
            raise InputError(f"{name} needs {error.name}; install it with: pip install '.[tests]'") from error
        report = benchmark.measure(chosen)
        print(f"\n## {name}\n\n{render(as_written(report, chosen))}")
        if output is not None:
            print(f"\n{write_report(output, report, chosen)}")
    if output is not None:
        print(*generated.write(output, make_pages(output)), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
