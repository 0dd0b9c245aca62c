"""The options of `run`, each said once: what the parser takes, which field of the experiment it sets, what it teaches.

Other commands take from this table what they share with `run`. Nothing here imports PyTorch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from annotated_types import Interval

from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.experiment import Experiment, known_experiments
from benchmarks.setting.methods import METHODS
from dpq.cli.parser import one_of, positive
from dpq.learning.entry import Variant

HOURS = 24.0  # of a job, unless it is given another limit


@dataclass(frozen=True)
class Option:
    """One argument of a command."""

    flag: str  # as it is written; a name without dashes stands in its place on the line
    help: str | Callable[[], str]  # what it does; a function where names have to be looked up
    metavar: str = ""  # what its value looks like; empty for a switch
    read: Callable[[str], Any] = str  # makes the value of its text, or refuses it
    default: Any = None  # without it; None leaves a field as the experiment's file has it
    count: str | None = None  # "+" for several values
    environment: str = ""  # variable that holds the default
    path: str = ""  # of the field of `Experiment` that it sets, with dots

    @property
    def name(self) -> str:
        """Of the value among the parsed ones."""
        return self.flag.lstrip("-").replace("-", "_")

    def add_to(self, parser: Any) -> None:
        """Have a parser, or a group of one, take it."""
        about = self.help if isinstance(self.help, str) else self.help()
        default = os.environ.get(self.environment) or self.default
        kind = {"metavar": self.metavar, "type": self.read, "default": default, "nargs": self.count}
        parser.add_argument(self.flag, help=about, **(kind if self.metavar else {"action": "store_true"}))

    def written(self, value: Any) -> list[str]:
        """A value as the command line takes it; nothing where it is as without the option."""
        if value is None or value is False:
            return []
        return [self.flag] if value is True else [self.flag, listed(value) if isinstance(value, tuple) else str(value)]


def shard(text: str) -> tuple[int, int]:
    """`i/n`, one of n parts of the work, counted from 1."""
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        index = count = 0
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"expected i/n with i from 1 to n, got {text!r}")
    return index, count


def at_once(text: str) -> int | None:
    """A number of runs, or `auto`, for which None stands."""
    return None if text == "auto" else positive(text)


def listed(several: tuple[int, ...]) -> str:
    """Integers as `numbers` reads them."""
    return ",".join(map(str, several))


def _kind(path: str) -> Any:
    """The annotation of a field of `Experiment`."""
    kind: Any = Experiment
    for name in path.split("."):
        kind = get_type_hints(kind, include_extras=True)[name]
    return kind


def _word(flag: str, about: str, path: str) -> Option:
    """An option for a field that holds one of a few words; its type names them."""
    words = get_args(_kind(path))
    return Option(flag, about, "|".join(words), one_of(flag.lstrip("-"), words), path=path)


def _numbers(flag: str, about: str, path: str, metavar: str, make: Callable[[list[int]], Any] = tuple) -> Option:
    """An option for a field of whole numbers, which its type bounds; of one where the metavar has no comma.

    What a record cannot hold is refused here, before it is trained.
    """
    bounds, several = _bounds(_kind(path)), "," in metavar
    what = "numbers separated by commas, each" if several else "a number"

    def read(text: str) -> Any:
        try:
            found = [int(part) for part in (text.split(",") if several else [text])]
        except ValueError:
            found = []
        if not found or not bounds.ge <= min(found) <= max(found) <= bounds.le:
            short = text if len(text) <= 60 else f"{text[:57]}..."
            raise argparse.ArgumentTypeError(f"expected {what} from {bounds.ge} to {bounds.le}, got {short!r}")
        return make(found) if several else found[0]

    return Option(flag, about, metavar, read, path=path)


def _bounds(kind: Any) -> Any:
    """The interval that an annotation names, however deep inside."""
    return kind if isinstance(kind, Interval) else next(filter(None, map(_bounds, get_args(kind))), None)


def _text(text: str) -> str:
    """A text that JSON in UTF-8 can hold, as a record does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"expected a name in UTF-8, got {text!r}") from None
    return text


WHAT = (
    Option(
        "--method",
        lambda: (
            f"of {', '.join(METHODS)}; or all of this repository's own, or of these the paper's comparison and its "
            f"controls: paper, the default ({', '.join(name for name, entry in METHODS.own.items() if entry.paper)})"
        ),
        "NAME",
        default=["paper"],
        count="+",
    ),
    _numbers(
        "--bits",
        "code lengths; progressive methods train only the longest, the others one model for each",
        "bits",
        "8,16,24,32",
        lambda found: tuple(sorted(set(found))),
    ),
    _numbers("--seeds", "repetitions of every training", "seeds", "0,1,2"),
    _numbers("--split-seeds", "draws of the images, or of the classes that are held out", "split_seeds", "0,1,2"),
    Option(
        "--variant",
        "methods as their papers say (default) or as their released codes do",
        "|".join(get_args(Variant)),
        one_of("variant", get_args(Variant)),
        default="paper",
    ),
    Option(
        "--ablation",
        f"instead of the methods, DPQ with one thing changed: {', '.join(ABLATIONS)}, or all",
        "NAME",
        count="+",
    ),
    Option(
        "--tuned",
        "each method at the winner of its own study, instead of the setting that all share; one without a study is "
        "left out",
    ),
    Option(
        "--protocol",
        "the images of your own in --data-root, by class folders or manifest.csv; results are those of `own`",
        "folder",
        path="protocol",
    ),
)
# In the order in which a command names them.
SETTING = (
    Option("--backbone", "any timm model", "TIMM_NAME", _text, path="backbone.name"),
    Option(
        "--weights",
        "backbone weights (safetensors or torch); none starts from scratch; environment: DPQ_WEIGHTS",
        "FILE|none",
        _text,
        environment="DPQ_WEIGHTS",
        path="backbone.weights",
    ),
    _numbers("--image-size", "side of the network input in pixels", "training.image_size", "N"),
    _numbers("--epochs", "passes over the training images", "training.epochs", "N"),
    _word("--precision", "of the backbone", "training.precision"),
    _word(
        "--views",
        "evaluate on the centre crop, or on the mean embedding of it and its mirror image, or of ten crops; needs no "
        "new training",
        "training.evaluation_views",
    ),
    Option(
        "--label-vectors",
        "word vectors for the margin, one row per class (default: orthonormal); with --ablation, those of `words`",
        "FILE",
        _text,
        path="label_vectors",
    ),
    _numbers("--limit", "a class-balanced subset of about N images in every split", "limit", "N"),
    Option(
        "--validation",
        "hold out a fifth of the training images as queries and database, to choose settings",
        path="validation",
    ),
)
WHERE = (
    Option(
        "--data-root", "folder of the data set; environment: DPQ_DATA_ROOT", "DIR", Path, environment="DPQ_DATA_ROOT"
    ),
    Option("--device", "auto takes a GPU if there is one", "auto|cpu|cuda", default="auto"),
    Option("--strip-prefix", "what to take off the paths in lists that name other machines' folders", "PREFIX"),
    Option("--workers", "processes that decode images (default: one a core, at most 8)", "N", positive),
    Option(
        "--allow-missing",
        "go on with a copy that lacks up to N of its images; records and tables say so",
        "N",
        positive,
        default=0,
    ),
    Option("--output", "folder of results (default: results)", "DIR", Path, default=Path("results")),
    Option("--force", "do finished runs again, from the start"),
    Option("--dry-run", "print the plan and its cost, and do nothing"),
)
SHARD = Option(
    "--shard",
    "only the I-th of N parts of the work, for another machine or an array job to do the others",
    "I/N",
    shard,
)
PARALLEL = Option(
    "--parallel",
    "train N runs beside each other, in processes that divide the cores; auto (default) takes 2 on a GPU that has the "
    "memory, so that k-means and evaluation of one hide behind the training of another, and 1 elsewhere",
    "N|auto",
    at_once,
)
SUBMISSION = (  # a job is given all others
    Option(
        "--submit",
        "do nothing here, but submit the shards as an array job of Slurm, or as jobs of this machine",
        "slurm|local",
        one_of("cluster", ("slurm", "local")),
    ),
    Option("--jobs", "with --submit: the number of shards, one a job", "N", int),
    Option(
        "--slurm",
        "with --submit slurm: what each job asks for, as submitit names it, for instance partition=gpu "
        f"gpus_per_node=1 cpus_per_task=8 time=600 (minutes; default {HOURS * 60:.0f})",
        "KEY=VALUE",
        default=[],
        count="+",
    ),
)
NAMED = (
    Option("experiment", lambda: f"one of {', '.join(known_experiments())}", "EXPERIMENT"),
    Option("records", "a file <output>/<experiment>/runs/<id>.json", "RECORD", Path, count="+"),
)
GROUPS = {
    "what to run": WHAT,
    "changes to the experiment's setting": SETTING,
    "where and how": WHERE,
    "parts of the work, and jobs that do them": (PARALLEL, SHARD, *SUBMISSION),
}
OPTIONS = {option.flag: option for option in (*NAMED, *(option for group in GROUPS.values() for option in group))}


def shared(*flags: str) -> list[Option]:
    """Some of these options, for another command."""
    return [OPTIONS[flag] for flag in flags]


def without_submission(arguments: Sequence[str]) -> list[str]:
    """What the jobs of a call are given of its arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in SUBMISSION:
        option.add_to(parser)
    return parser.parse_known_args(arguments)[1]
