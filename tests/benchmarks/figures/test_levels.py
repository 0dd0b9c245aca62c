import numpy as np
import pytest
from scipy import stats

from benchmarks.figures.levels import levels_figure
from tests.benchmarks.conftest import make_record
from tests.benchmarks.figures.conftest import curve


def test_errors_are_relative_and_codewords_as_recorded(material):
    one, other = make_record(), make_record(seed=1, codewords_used=[246, 251], embedding_mean_squared_norm=5.0)
    error, used, perplexity = levels_figure(material(one, other)).axes
    levels, mean, ends = curve(error, "DPQ")
    assert levels.tolist() == [1, 2]
    expected = [[0.05, 0.1], [0.025, 0.05]]  # 4 / bits over 10 and 5
    assert mean == pytest.approx(np.mean(expected, axis=1))
    assert ends[0] == pytest.approx(stats.t.interval(0.95, 1, loc=0.075, scale=stats.sem(expected[0])))
    assert curve(used, "DPQ")[1].tolist() == [251, 253]
    assert curve(perplexity, "DPQ")[1].tolist() == [200, 190]


def test_the_longest_codes_of_methods_that_are_trained_for_each_length(material):
    long = make_record("dqn", codewords_used=[100, 90])
    short = make_record("dqn", bits=(8,), maps=(0.5,), id="dqn-8", codewords_used=[7])
    used = levels_figure(material(long, short)).axes[1]
    assert curve(used, "DQN")[1].tolist() == [100, 90]


def test_levels_that_no_recorded_length_ends_with_have_codewords_but_no_error(material):
    record = make_record(bits=(16, 32), codewords_used=[4, 3, 2, 1], codeword_perplexity=[4.0, 3.0, 2.0, 1.0])
    error, used, _ = levels_figure(material(record)).axes
    assert curve(error, "DPQ")[0].tolist() == [2, 4]
    assert curve(used, "DPQ")[0].tolist() == [1, 2, 3, 4]


def test_a_label_code_reconstructs_no_embedding(material):
    error, used, _ = levels_figure(material(make_record("label-code"), make_record())).axes
    titles = [[container.get_label() for container in axes.containers] for axes in (error, used)]
    assert titles == [["DPQ"], ["DPQ", "Label code on DPQ's classifier"]]


def test_trainings_for_fewer_lengths_are_left_out_and_not_counted(material):
    ended = [make_record(seed=seed, bits=(8,), maps=(0.5,), id=f"for-8-{seed}") for seed in range(2)]
    figure = levels_figure(material(make_record(), *ended))
    assert [container.get_label() for container in figure.axes[0].containers] == ["DPQ"]
    assert figure.get_suptitle().endswith("n = 1 seed")
