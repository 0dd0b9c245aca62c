"""`run`: train, encode and evaluate what is not done yet."""

from __future__ import annotations

import argparse

from benchmarks.commands import Command
from benchmarks.setting.ablations import METHOD
from benchmarks.setting.methods import METHODS
from benchmarks.setting.options import GROUPS, shared
from benchmarks.setting.overrides import choose_tuned, experiment_of
from dpq.errors import InputError


def run(options: argparse.Namespace) -> None:
    """Carry out a call, once it is known what is asked for."""
    experiment, methods = experiment_of(options), _methods(options)
    if options.tuned:
        methods = choose_tuned(methods, experiment)
    from benchmarks.running.call import carry_out_call

    carry_out_call(options, experiment, methods)


def _methods(options: argparse.Namespace) -> list[str]:
    """The methods that were asked for, in the order of tables within "all" and "paper"; of ablations DPQ.

    Both are those of this repository that have the variant.
    """
    variant: str = options.variant
    if options.tuned and (options.ablation or variant != "paper"):
        raise InputError("studies are of the paper variant; leave out --tuned, or --ablation and --variant")
    if options.ablation:
        if others := [name for name in options.method if name not in (METHOD, "all", "paper")]:
            raise InputError(f"ablations are of {METHOD} alone; leave out --method {' '.join(others)}")
        if variant != "paper":
            raise InputError(f"ablations are of the paper variant; leave out --variant {variant}")
        return [METHOD]
    having = [name for name, entry in METHODS.own.items() if variant in entry.variants]
    groups = {"all": having, "paper": [name for name in having if METHODS[name].paper]}
    names = [one for name in options.method for one in groups.get(name, [name])]
    for name in names:
        if name not in METHODS:
            raise InputError(f"unknown method {name!r}; choose from {', '.join(METHODS)}, all or paper")
        if variant not in METHODS[name].variants:
            raise InputError(f"{name} has no {variant} variant; {', '.join(having)} have one")
    return list(dict.fromkeys(names))


COMMAND = Command(
    "run",
    run,
    shared("experiment"),
    "finished epochs and records are kept; the same command goes on from there",
    "train, encode, evaluate; what is done already is not repeated",
    "Train each method, once per seed or once per seed and code length, and evaluate it at all code lengths. An "
    "interrupted run goes on from its last epoch when the same command is given again; a finished one is not repeated.",
    GROUPS,
)
