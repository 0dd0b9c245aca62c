"""What every method promises by being registered."""

from dataclasses import replace
from functools import cache, partial

import pytest
import torch

from benchmarks.setting.building import build_method, frozen_features, read_ingredients
from benchmarks.setting.experiment import parse_experiment
from benchmarks.setting.methods import METHODS
from dpq import InputError, conformance
from tests.benchmarks.conftest import TINY


@cache
def experiment():
    return parse_experiment("tiny", TINY.replace("bits = [4, 8]", "bits = [4, 8, 12]"))


@cache
def subject_of(name):
    """A method; those that quantize another's predictions get that one, untrained, as their source."""
    dataset = conformance.small_dataset()

    def make(bits=12, seed=0):
        chosen = replace(experiment(), bits=(bits,))
        ingredients = read_ingredients(experiment(), dataset)
        source, read = None, METHODS.own[name].source
        if read == "backbone":
            source = frozen_features(chosen, ingredients, torch.device("cpu"))
        elif read is not None:
            source = build_method(read, chosen, ingredients, seed)
        return build_method(name, chosen, ingredients, seed, source)

    training = replace(experiment().training, batch_size=conformance.BATCH)
    return conformance.Subject(make, METHODS.own[name].progressive, dataset, training)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{check.__name__}")
        for name in METHODS.own
        for check in conformance.checks_of(partial(subject_of, name))
    ],
)
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", METHODS.own)
def test_the_entry_says_what_the_method_says(name):
    assert METHODS.own[name].configs
    assert all(experiment().settings_of(table).score for table in METHODS.own[name].configs)
    assert experiment().ranking_of(name)[0] in ("inner", "l2", "symmetric")
    assert name.startswith(subject_of(name).make().name)


@pytest.mark.parametrize("name", METHODS.own)
@pytest.mark.parametrize("bits", [0, 6, -4])
def test_bad_lengths_are_refused_when_built(name, bits):
    with pytest.raises(InputError, match=f"code lengths must be multiples of 4 bits .* got {bits}"):
        subject_of(name).make(bits=bits)
