"""The experiment that a call of `run` is about: its file's, each field changed that an option or ablation names."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.setting.ablations import ABLATIONS, METHOD, WORDS
from benchmarks.setting.experiment import OWN, Experiment, load_experiment
from benchmarks.setting.methods import studied
from benchmarks.setting.options import OPTIONS, SETTING
from dpq.errors import InputError

log = logging.getLogger(__name__)

PROTOCOL = "folder"  # of one's own images
NO_FILE = ("timm", "none")  # weights


def experiment_of(options: argparse.Namespace) -> Experiment:
    """The experiment of a call; what an option sets is not tuned.

    Raises:
        InputError: there is none of this name, or it is not for these data.
    """
    experiment = as_called(with_protocol(load_experiment(options.experiment), options.protocol))
    for path, value in _given(options).items():
        experiment = _override(experiment, path, value)
        experiment = replace(experiment, tuned={name: one.without(path) for name, one in experiment.tuned.items()})
    return with_stored_side(experiment)


def _override(setting: Any, path: str, value: Any) -> Any:
    """The setting with another value in one field, which its path names with dots."""
    name, _, rest = path.partition(".")
    return replace(setting, **{name: _override(getattr(setting, name), rest, value) if rest else value})


def as_called(experiment: Experiment) -> Experiment:
    """The experiment of a call without options; the command line alone decides these two, whatever the file says."""
    return replace(experiment, limit=None, validation=False)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Values of options by the field that they set."""
    values = {option.path: vars(options)[option.name] for option in OPTIONS.values() if option.path}
    if options.ablation:  # the file is for one of them, not for the setting that they start from
        del values["label_vectors"]
    return {path: value for path, value in values.items() if value is not None and value is not False}


def recorded_call(options: argparse.Namespace) -> tuple[str, ...]:
    """What records of a call keep of its command, besides method, seeds and lengths: the experiment and its changes.

    Word vectors are named by their file; a file of weights, like data, is left to the environment.
    """
    values = _given(options)
    changes = [OPTIONS["--protocol"].written(values.get("protocol"))]
    for option in SETTING:
        value = values.get(option.path)
        if option.path == "label_vectors" and value:
            value = Path(value).name
        if option.path != "backbone.weights" or value in NO_FILE:
            changes.append(option.written(value))
    return (options.experiment, *(text for change in changes for text in change))


def with_protocol(experiment: Experiment, protocol: str | None) -> Experiment:
    """The setting of an experiment on another protocol's data; only one's own images have no experiment of their own.

    Its results are those of `own`, whatever setting they are made in, and so stand in no other table.

    Raises:
        InputError: another protocol than the experiment's, and not that of own images.
    """
    if protocol not in (None, PROTOCOL, experiment.protocol):
        raise InputError(
            f"{experiment.name} is an experiment on {experiment.protocol}; --protocol takes {PROTOCOL}, for images of "
            "your own, and every other data set has experiments of its own"
        )
    if protocol == PROTOCOL != experiment.protocol:
        # Class splits, lists and studies are those of the data that are not used.
        return replace(experiment, name=OWN, protocol=PROTOCOL, split_seeds=(0,), tuned={})
    return experiment


def with_stored_side(experiment: Experiment) -> Experiment:
    """Own images are stored at the size at which a crop is as wide as the network's input: no sampling in between."""
    if experiment.protocol != PROTOCOL or experiment.stored_side is not None:
        return experiment
    training = experiment.training
    return replace(experiment, stored_side=round(training.image_size / training.augmentation.crop))


def ablated(experiment: Experiment, name: str, label_vectors: str | None = None) -> Experiment:
    """The experiment with the one field of an ablation changed; `label_vectors` is the file for `words`.

    Raises:
        InputError: that changes nothing, or there is no file.
    """
    ablation = ABLATIONS[name]
    value = label_vectors if ablation.value is None else ablation.value
    if value is None:
        raise InputError(f"the ablation {name} needs word vectors; give --label-vectors FILE")
    field = ablation.path.split(".")[-1]
    changed: Any = experiment if ablation.path == field else experiment.settings_of(METHOD)
    if getattr(changed, field) == value:
        raise InputError(
            f"the ablation {name} sets {ablation.path} to {value!r}, which {experiment.name} has anyway; leave it out"
        )
    changed = replace(changed, **{field: value})
    return changed if ablation.path == field else replace(experiment, methods={**experiment.methods, METHOD: changed})


def choose_tuned(methods: Sequence[str], experiment: Experiment) -> list[str]:
    """The methods that have a study; the others are left out, which is said.

    Raises:
        InputError: none has one.
    """
    chosen = [name for name in methods if studied(name) in experiment.tuned]
    left = ", ".join(name for name in methods if name not in chosen)
    if not chosen:
        remedy = f"make some with: python -m benchmarks tune {experiment.name} --method {' '.join(methods)}"
        raise InputError(f"no study of {experiment.name} has tuned {left}; {remedy}")
    if left:
        log.info("left out, as no study of %s has tuned them: %s", experiment.name, left)
    return chosen


def choose_ablations(
    names: Sequence[str], experiment: Experiment, label_vectors: str | None = None
) -> dict[str, Experiment]:
    """The settings of the ablations that were asked for, in the order of the table.

    "all" leaves out those that cannot be made here, and says which.

    Raises:
        InputError: an ablation is unknown or cannot be made; the file of word vectors is for none of them.
    """
    every = list(names) == ["all"]
    for name in names:
        if name not in ABLATIONS and not every:
            raise InputError(f"unknown ablation {name!r}; choose from {', '.join(ABLATIONS)}, or all")
    if label_vectors is not None and not every and WORDS not in names:
        raise InputError(
            f"--label-vectors {label_vectors} is for the ablation {WORDS} here; name it with --ablation, "
            "or leave the file out"
        )
    chosen = {}
    for name in ABLATIONS:
        if not every and name not in names:
            continue
        try:
            chosen[name] = ablated(experiment, name, label_vectors)
        except InputError as error:
            if not every:
                raise
            log.info("%s is left out: %s", name, error)
    return chosen
