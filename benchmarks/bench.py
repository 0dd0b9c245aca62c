"""Speed and memory of the parts, on generated data: `python -m benchmarks.bench`, or `nox -s bench`.

A benchmark is a function of the parsed options that returns its table, and a sub-command in `make_parser`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pandas as pd
import torch

from benchmarks.__main__ import Parser, positive
from benchmarks.environment import peak_memory_mb, processor
from benchmarks.synthetic import CODEBOOK_SIZE, LABELS, coded_set
from dpq.additive import levels_for
from dpq.errors import InputError
from dpq.ranking import evaluate_codes

EXAMPLES = """examples:
  python -m benchmarks.bench ranking                                   NUS-WIDE's size, all cores
  python -m benchmarks.bench ranking --threads 1                       what the threads bring
  python -m benchmarks.bench ranking --queries 200 --database 54000    a quick look at a smaller set
"""
BITS, CUT = (8, 16, 24, 32), 5000


def ranking(options: argparse.Namespace) -> str:
    """`evaluate_codes` at every code length: time, and the memory that it takes beside its input.

    Seconds are wall-clock; CPU seconds are summed over threads, and tell how busy the machine was with other work.
    The memory is how far the peak resident set of this process has grown since the input was there. The input is
    generated in a process of its own, so that no peak of that hides the evaluation's.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        data = apart.submit(coded_set, options.queries, options.database).result()
    cpu = torch.device("cpu")
    before = peak_memory_mb(cpu)
    rows = []
    for bits in BITS:
        levels, start, busy = levels_for(bits, CODEBOOK_SIZE), time.perf_counter(), time.process_time()
        result = evaluate_codes(
            data.queries,
            data.query_labels,
            data.codes[:, :levels],
            data.database_labels,
            data.codebooks[:levels],
            CUT,
            progress=True,
        )
        rows.append(
            {
                "bits": str(bits),
                "distinct codes": f"{result.distinct_codes:,}",
                "mAP": f"{result.map:.4f}",
                "seconds": time.perf_counter() - start,
                "CPU seconds": time.process_time() - busy,
                "extra memory (MiB)": peak_memory_mb(cpu) - before,
            }
        )
    table = pd.DataFrame(rows)
    total = table.agg({"seconds": "sum", "CPU seconds": "sum", "extra memory (MiB)": "max"})
    table = pd.concat([table, total.to_frame().T.assign(bits="all")]).fillna("")
    title = (
        f"ranking: {options.queries:,} queries, {options.database:,} images, {LABELS} labels, mAP@{CUT:,}; "
        f"{torch.get_num_threads()} threads on {processor()}"
    )
    return f"{title}\n\n{table.to_markdown(index=False, floatfmt='.1f', disable_numparse=[0, 1, 2])}"


def make_parser() -> Parser:
    """The parser with one sub-command a benchmark."""
    parser = Parser(
        prog="python -m benchmarks.bench",
        description="Measure speed and memory on generated data; nothing is downloaded.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="BENCHMARK")
    one = subparsers.add_parser(
        "ranking",
        help="rank a coded database for many queries, and measure the rankings",
        description=f"Rank a generated database by its codes of {', '.join(map(str, BITS))} bits and compute every "
        f"metric of a record, mAP over the first {CUT:,} ranks. Prints the time of each length, and the peak memory "
        "beside codes, codebooks, queries and labels. The default sizes are NUS-WIDE's.",
    )
    one.add_argument("--queries", type=positive, default=5000, metavar="Q", help="default: 5000")
    one.add_argument("--database", type=positive, default=190_834, metavar="N", help="images; default: 190834")
    one.set_defaults(benchmark=ranking)
    for subparser in subparsers.choices.values():
        subparser.add_argument("--threads", type=positive, metavar="T", help="default: as many as there are cores")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its table; the exit status is 2 for a mistake of the caller, 130 when interrupted."""
    try:
        options = make_parser().parse_args(arguments)
        if options.threads:
            torch.set_num_threads(options.threads)
        print(options.benchmark(options))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
