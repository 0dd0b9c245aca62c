"""Ablations of DPQ: each is the experiment's own setting with one field changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METHOD = "dpq"
WORDS = "words"


@dataclass(frozen=True)
class Ablation:
    """One switch."""

    title: str  # in tables
    path: str  # of the field of `Experiment`, with dots
    value: Any  # that it gets; None for the file that `--label-vectors` names


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
    "multipliers": Ablation(
        "the released program's multiples of the learning rate, made for SGD", "methods.dpq.multipliers", "released"
    ),
    "two-step": Ablation(
        "two steps: the network in the feature epochs, then codebooks alone", "methods.dpq.two_step", True
    ),
    "frozen": Ablation("frozen backbone (heads and codebooks learn)", "methods.dpq.train_backbone", False),
}
