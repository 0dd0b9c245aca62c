import numpy as np
import pytest

from benchmarks.figures.training import cost_figure, training_figure
from tests.benchmarks.conftest import make_record
from tests.benchmarks.figures.conftest import curve


def log(*losses, **others):
    return [{"margin": loss, "learning_rate": 0.1} | others for loss in losses]


def deep(method, seed, logged, **changes):
    record = make_record(method, seed=seed, training_log=logged, **changes)
    record["config"]["methods"] = {method: {"feature_epochs": 0.5}}
    return record


def test_mean_and_range_over_seeds_of_every_loss_term(material):
    one = [*log(4.0, 2.0), *log(1.0, 0.5, soft=0.04, codewords_used=[1, 2], codewords_revived=3)]
    other = [*log(2.0, 2.0), *log(1.0, 0.5, soft=0.06)]
    (axes,) = training_figure(material(deep("dpq", 0, one), deep("dpq", 1, other), make_record("rq"))).axes
    assert {line.get_label() for line in axes.lines} == {"margin", "soft"}
    epochs, margin, _ = curve(axes, "margin")
    assert epochs.tolist() == [1, 2, 3, 4]
    assert margin.tolist() == [3, 2, 1, 0.5]
    np.testing.assert_allclose(curve(axes, "soft")[1], [np.nan, np.nan, 0.05, 0.05])
    assert axes.get_yscale() == "log"
    (shaded,) = [patch for patch in axes.patches if patch.get_label() == "features alone"]
    assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == (0.5, 2.5)


def test_a_panel_a_method_of_its_longest_code(material):
    short = deep("dqn", 0, log(9.0, 9.0), bits=(8,), maps=(0.5,), id="dqn-8")
    made = material(deep("dpq", 0, log(2.0, 1.0)), deep("dqn", 0, log(3.0, 2.0)), short)
    dqn, dpq = training_figure(made).axes
    assert (dqn.get_title(), dpq.get_title()) == ("DQN", "DPQ")
    assert curve(dqn, "margin")[1].tolist() == [3, 2]
    assert dqn.get_yscale() == "linear"


def test_nothing_without_a_training(material):
    assert training_figure(material(make_record("rq"))) is None


def seconds(record, train, beside=0):
    record["seconds"] = record["seconds"] | {"train": train}
    record["environment"] = record["environment"] | ({"beside": beside} if beside else {})
    return record


def test_the_time_of_all_trainings_and_of_those_whose_embedding_is_coded(material):
    own = [seconds(make_record(seed=seed, maps=(0.5, 0.7)), 100.0 + 20 * seed) for seed in range(2)]
    control = seconds(make_record("rq-dpq", maps=(0.4, 0.6)), 10.0, beside=1)
    each = [
        seconds(make_record("dqn", bits=bits, maps=maps, id=f"dqn-{max(bits)}"), 50.0)
        for bits, maps in [((8,), (0.2,)), ((8, 16), (0.1, 0.4))]
    ]
    lone = seconds(make_record("dtq", bits=(8,), maps=(0.9,)), 1.0)
    (axes,) = cost_figure(material(*own, control, *each, lone)).axes
    places = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines}
    assert places == {
        "DPQ": (110.0, pytest.approx(0.6)),
        "RQ on DPQ's embedding": (120.0, pytest.approx(0.5)),
        "DQN": (100.0, pytest.approx(0.3)),
    }
    hollow = {line.get_label() for line in axes.lines if line.get_markerfacecolor() == "white"}
    assert hollow == {"RQ on DPQ's embedding"}


def test_one_row_has_no_comparison_of_times(material):
    assert cost_figure(material(make_record())) is None
