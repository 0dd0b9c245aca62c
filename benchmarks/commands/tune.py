"""`tune`: search settings of methods on held-out training images, with as many trials for each."""

from __future__ import annotations

import argparse
from dataclasses import replace

from benchmarks.commands import Command
from benchmarks.setting.methods import METHODS, studied
from benchmarks.setting.options import OPTIONS, SETTING, WHAT, Option, at_once, shared
from benchmarks.setting.overrides import experiment_of
from dpq.cli.parser import natural, positive
from dpq.errors import InputError

SEED = 100  # none of those whose results are reported


def tunable() -> list[str]:
    """This repository's methods that have settings of their own, not those of a method whose embeddings they take."""
    return [name for name in METHODS.own if studied(name) == name]


def run(options: argparse.Namespace) -> None:
    """Carry out a call, once it is known what is asked for."""
    defaults = {option.name: option.default for option in OPTIONS.values()}
    called = argparse.Namespace(**{**defaults, **vars(options)})
    # The file of label vectors is a choice of the search; the setting itself stays the experiment's.
    held_out = argparse.Namespace(**{**vars(called), "validation": True, "label_vectors": None})
    experiment = experiment_of(held_out)
    groups = {"all": tunable(), "paper": [name for name in tunable() if METHODS[name].paper]}
    names = list(dict.fromkeys(one for name in options.method for one in groups.get(name, [name])))
    for name in names:
        if name not in METHODS:
            raise InputError(f"unknown method {name!r}; choose from {', '.join(tunable())}, all or paper")
    from benchmarks.tuning.call import tune_call

    tune_call(called, experiment, names)


_METHOD = next(option for option in WHAT if option.flag == "--method")
_CHANGES = [option for option in SETTING if option.flag not in ("--label-vectors", "--validation")]

COMMAND = Command(
    "tune",
    run,
    [
        *shared("experiment"),
        replace(
            _METHOD,
            help=lambda: f"of {', '.join(tunable())}; all of them; or paper, those of its comparison (default)",
        ),
        Option("--trials", "of every method, with what diverged or came twice (default: 16)", "N", positive, 16),
        *shared("--bits"),
        Option(
            "--most-epochs",
            "no trial of any method has more epochs (default: one and a half times the experiment's own)",
            "N",
            positive,
        ),
        Option("--label-vectors", "word vectors that DPQ may choose instead of the experiment's own", "FILE", str),
        Option(
            "--seed",
            f"of the search, and of every training in it (default: {SEED}, so that none is of a reported seed)",
            "N",
            natural,
            SEED,
        ),
        Option(
            "--parallel",
            "propose and train N trials at once, in processes that divide the cores; a study keeps the N that it was "
            "begun with; auto (default) is 2 on a GPU that has the memory, and 1 elsewhere",
            "N|auto",
            at_once,
        ),
        *shared("--data-root", "--device", "--strip-prefix", "--workers", "--allow-missing", "--output", "--dry-run"),
    ],
    "finished trials and epochs are kept; the same command goes on from there",
    "search settings of methods on held-out training images, as many trials for each",
    "Search the settings of each method: those that all share (learning rates, decay, dropout, epochs, averaging, "
    "erasing) and its own, within ranges that its file declares. Every method has the same number of trials, the first "
    "of which is the experiment's own setting. A trial trains on four fifths of the training images and is worth the "
    "mean mAP over code lengths among the rest; no query and no database image is read. Trials are kept in "
    "<output>/studies/EXPERIMENT/METHOD.json, and the winners are printed as the experiment's file takes them. Needs "
    "the extra 'tune'.",
    {"changes to the experiment's setting": _CHANGES},
)
