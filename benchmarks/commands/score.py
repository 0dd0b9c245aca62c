"""`score`: codes that were made elsewhere get the suite's evaluation."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from benchmarks.commands import Command
from benchmarks.setting.experiment import OWN, load_experiment
from benchmarks.setting.options import OPTIONS, Option, shared
from benchmarks.setting.overrides import PROTOCOL
from dpq.cli.parser import natural, one_of
from dpq.errors import InputError
from dpq.learning.settings import RankedBy
from dpq.protocols import PROTOCOLS, load_protocol

if TYPE_CHECKING:
    from dpq.protocols import Dataset, ReadOptions

SCORES = get_args(RankedBy)
_NAME = re.compile(r"[\w][\w.+-]{0,79}")


def run(options: argparse.Namespace) -> None:
    """Write the lists of a protocol, or rank its database by brought codes and write their record.

    Raises:
        InputError: data or codes that are missing or unusable, or no word on what to do.
    """
    if (options.lists is None) == (options.codes is None):
        raise InputError(
            "give --lists DIR for the lists of images, or --codes FILE --name NAME for codes of these images"
        )
    if options.codes is not None and not _NAME.fullmatch(options.name or ""):
        raise InputError(
            f"--name must be letters, digits and '.+-', as it is the record's and a row's; got {options.name!r}"
        )
    experiment = options.experiment or (OWN if options.protocol == PROTOCOL else options.protocol)
    if options.codes is not None and load_experiment(experiment).protocol != options.protocol:
        raise InputError(f"{experiment} is no experiment on {options.protocol}; name another --experiment")
    from benchmarks.running.loading import reading_of

    if options.lists is not None:
        from benchmarks.brought.lists import write_lists

        for path in write_lists(_dataset(options, reading_of(options)), options.lists):
            print(path)
        return
    from benchmarks.brought.codes import read_codes
    from benchmarks.brought.score import score_codes
    from benchmarks.brought.table import brought_lines
    from benchmarks.running.environment import check_writable

    codes = read_codes(options.codes)
    check_writable(options.output)
    record, path = score_codes(
        codes,
        options.name,
        _dataset(options, reading_of(options)),
        options.split_seed,
        score=options.score,
        bits=options.bits,
        experiment=experiment,
        output=options.output,
    )
    cut = "the whole database" if record.cut is None else f"the first {record.cut:,} ranks"
    print(
        f"{record.data.variant}: {record.data.query:,} queries, {record.data.database:,} database images; mAP over "
        f"{cut}, expected over tie orders, denominator {record.ap_denominator}; in brackets the 95 % interval over "
        "the queries"
    )
    print("\n".join(brought_lines(record)))
    print(path)


def _dataset(options: argparse.Namespace, reading: ReadOptions) -> Dataset:
    return load_protocol(options.protocol, options.data_root, options=reading, split_seed=options.split_seed)


COMMAND = Command(
    "score",
    run,
    [
        Option(
            "protocol",
            f"whose images they are, one of {', '.join(PROTOCOLS)}",
            "PROTOCOL",
            one_of("protocol", [*PROTOCOLS]),
        ),
        *shared("--data-root"),
        Option("--split-seed", "which draw of the images (default: 0)", "N", natural, default=0),
        *shared("--strip-prefix", "--workers", "--allow-missing"),
    ],
    "files are whole, new or old; the same command makes all of them",
    "evaluate codes that any program has made, exactly as our own",
    "Which images are training, query and database, in which order, says --lists. Make codes of queries and database "
    "with any program, write them in this order into an .npz file, and give it with --codes: ties, cuts, denominators "
    "and intervals are then those of our own rows. Train on the images of train.csv alone.",
    {
        "the lists": [
            Option(
                "--lists",
                "write train.csv, query.csv and database.csv: position, the data set's own index, SHA-256 of the "
                "pixels or of the file, labels",
                "DIR",
                Path,
            )
        ],
        "codes": [
            Option(
                "--codes",
                "an .npz file by numpy.savez, without pickles, with one of: codes [N, M] uint8, codebooks [M, K, D], "
                "queries [Q, D] (query_codes [Q, M] for --score symmetric); or database_bits [N, B], query_bits [Q, B] "
                "of 0 and 1 or -1 and 1; or database [N, D], queries [Q, D]. With query_ids and database_ids, from "
                "either column of the lists, rows may have another order",
                "FILE",
                Path,
            ),
            Option("--name", "what tables call them", "NAME"),
            Option(
                "--score",
                "of additive codes and embeddings (default: inner); binary codes are ranked by Hamming distance",
                "|".join(SCORES),
                one_of("score", SCORES),
            ),
            Option(
                "--bits",
                "lengths to read, each a prefix of the code (default: the whole code alone)",
                "8,16,24,32",
                OPTIONS["--bits"].read,
            ),
            Option(
                "--experiment",
                "whose records they stand beside (default: that of the protocol's name, own for folder)",
                "EXPERIMENT",
            ),
            *shared("--output"),
        ],
    },
)
