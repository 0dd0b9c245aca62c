from dataclasses import fields, replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from annotated_types import Interval

from baselines.deep.dqn import DQNConfig
from baselines.deep.dtq import DTQConfig
from dpq import DPQConfig, InputError
from dpq.files.schema import read_table
from dpq.learning.settings import Augmentation, Preprocessing, SearchConfig, TrainingConfig

CONFIGS = (DPQConfig(), DQNConfig(), DTQConfig(), TrainingConfig(1), Augmentation(), SearchConfig(), Preprocessing())
FIELDS = [pytest.param(c, f.name, id=f"{type(c).__name__}.{f.name}") for c in CONFIGS for f in fields(c)]


@pytest.mark.parametrize(("config", "name"), FIELDS)
def test_every_field_has_the_bounds_that_files_have(config, name):
    kind = get_type_hints(type(config), include_extras=True)[name]
    bounds = next((one for one in get_args(kind) if isinstance(one, Interval)), None)
    beyond = [bounds.le * 2 + 1, bounds.ge - 1, float("nan"), "1"] if bounds else ["nonsense", [0], None]
    for value in beyond:
        with pytest.raises(InputError, match=f"^{name} must be "):
            replace(config, **{name: value})
    if bounds:
        assert getattr(replace(config, **{name: bounds.le}), name) == bounds.le


def test_numbers_of_numpy_become_those_of_files():
    config = TrainingConfig(epochs=np.int64(3), learning_rate=np.float32(0.5), dropout=0)
    assert [type(value) for value in (config.epochs, config.learning_rate, config.dropout)] == [int, float, float]
    assert read_table(TrainingConfig, {"epochs": 3, "learning_rate": 0.5, "dropout": 0}) == config


@pytest.mark.parametrize("value", [2.0, True, "3", 10**400])
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(InputError, match="epochs must be a whole number from 1 to"):
        TrainingConfig(epochs=value)
