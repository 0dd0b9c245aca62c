import pytest

from benchmarks.setting.building import build_method, read_ingredients
from benchmarks.setting.experiment import parse_experiment
from dpq.conformance import small_dataset
from tests.benchmarks.conftest import TINY


@pytest.mark.parametrize(
    ("name", "settings", "width"),
    [
        ("dtq", "", 64),
        ("dtq", "[methods.dtq]\nembedding_dim = 24", 24),
        ("dtq", "[methods.dtq]\nembedding_dim = 0", 16),
        ("dqn", "", 16),
        ("dqn", "[methods.dqn]\nembedding_dim = 24", 24),
        ("dpq", "[methods.dtq]\nembedding_dim = 24", 16),
    ],
)
def test_a_method_has_the_width_of_its_settings_or_the_experiments(name, settings, width):
    experiment = parse_experiment("tiny", TINY + settings)
    ingredients = read_ingredients(experiment, small_dataset())
    method = build_method(name, experiment, ingredients, 0)
    assert method.backbone.embedding.out_features == method.codebooks.shape[2] == width
    assert ingredients.label_vectors.shape == (10, 16)  # of those that learn from them


def test_a_method_without_label_vectors_may_be_narrower_than_there_are_classes():
    experiment = parse_experiment("tiny", TINY + "[methods.dtq]\nembedding_dim = 4")
    method = build_method("dtq", experiment, read_ingredients(experiment, small_dataset()), 0)
    assert method.codebooks.shape == (2, 16, 4)
