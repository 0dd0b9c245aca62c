"""Ablations of DPQ: each is the experiment's own setting with one field changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.setting.experiment import Experiment
from dpq.errors import InputError

log = logging.getLogger(__name__)

METHOD = "dpq"
WORDS = "words"


@dataclass(frozen=True)
class Ablation:
    """One switch.

    Attributes:
        title: in tables.
        path: of the field of `Experiment`, with dots.
        value: that it gets; None for the file that `--label-vectors` names.
    """

    title: str
    path: str
    value: Any


# In the order of the table.
ABLATIONS: dict[str, Ablation] = {
    "no-margin": Ablation("no margin loss", "methods.dpq.margin", 0.0),
    "no-classification": Ablation("no classification loss", "methods.dpq.classification", 0.0),
    WORDS: Ablation("word vectors as label vectors", "label_vectors", None),
    "no-soft": Ablation("no soft terms (hard distortion alone)", "methods.dpq.soft_terms", False),
    "cosine-choice": Ablation("nearest codeword by cosine", "methods.dpq.hard_choice", "cosine"),
    "cosine-assignment": Ablation("soft assignment by cosine", "methods.dpq.soft_assignment", "cosine"),
    "gamma-small": Ablation("a much softer assignment", "methods.dpq.gamma", 0.01),
    "gamma-large": Ablation("a much harder assignment", "methods.dpq.gamma", 100.0),
    "codebook-gradient": Ablation(
        "quantization gradient to the codebooks only", "methods.dpq.quantization_gradient", "codebooks"
    ),
    "two-step": Ablation(
        "two steps: the network in the feature epochs, then codebooks alone", "methods.dpq.two_step", True
    ),
    "frozen": Ablation("frozen backbone (heads and codebooks learn)", "methods.dpq.train_backbone", False),
}


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


def methods_to_ablate(names: Sequence[str], variant: str) -> list[str]:
    """The methods of a call with `--ablation`: DPQ, which "all" stands for too.

    Raises:
        InputError: another method or variant was asked for.
    """
    others = [name for name in names if name not in (METHOD, "all")]
    if others:
        raise InputError(f"ablations are of {METHOD} alone; leave out --method {' '.join(others)}")
    if variant != "paper":
        raise InputError(f"ablations are of the paper variant; leave out --variant {variant}")
    return [METHOD]
