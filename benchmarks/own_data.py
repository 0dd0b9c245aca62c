"""The setting of an experiment on somebody's own images."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.config import OWN, Experiment
from dpq.errors import InputError

PROTOCOL = "folder"


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
        # Class splits and lists are those of the data that are not used.
        return replace(experiment, name=OWN, protocol=PROTOCOL, split_seeds=(0,))
    return experiment


def with_stored_side(experiment: Experiment) -> Experiment:
    """Own images are stored at the size at which a crop is as wide as the network's input: no sampling in between."""
    if experiment.protocol != PROTOCOL or experiment.stored_side is not None:
        return experiment
    training = experiment.training
    return replace(experiment, stored_side=round(training.image_size / training.augmentation.crop))
