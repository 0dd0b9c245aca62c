import numpy as np
import pytest
from scipy import stats

from benchmarks.figures.ablations import ablations_figure, differences, effects_figure
from benchmarks.report.verdicts import Comparison
from tests.benchmarks.conftest import make_record
from tests.benchmarks.made_up import section
from tests.benchmarks.report.test_ablations import PLAIN, make_ablated, no_margin

FROZEN = make_ablated("frozen", {"train_backbone": False}, maps=(0.1, 0.1))


def test_differences_are_paired_by_seed_and_averaged_over_lengths():
    made = [no_margin(0, (0.48, 0.60)), no_margin(1, (0.50, 0.62)), no_margin(2, (0.9, 0.88))]
    (found,) = differences(section(PLAIN, made))
    by_hand = [-0.01, -0.03, -0.01]
    assert found.title == "no margin loss"
    assert found.interval.mean == pytest.approx(np.mean(by_hand))
    low, high = stats.t.interval(0.95, 2, loc=np.mean(by_hand), scale=stats.sem(by_hand))
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_runs_whose_dpq_is_not_there_take_no_part():
    assert differences(section(PLAIN, [no_margin(7, (0.4, 0.6))])) == []
    (found,) = differences(section(PLAIN, [no_margin(7, (0.9, 0.9)), no_margin(0, (0.4, 0.6))]))
    assert (found.interval.n, found.interval.low) == (1, None)
    assert found.interval.mean == pytest.approx(-0.05)


def test_only_lengths_that_both_have_are_compared():
    (found,) = differences(section([make_record(bits=(16,), maps=(0.7,))], [no_margin(0, (0.4, 0.6))]))
    assert found.interval.mean == pytest.approx(-0.1)


def test_one_line_an_ablation_in_the_order_of_the_table(material):
    made = material(*PLAIN, FROZEN, no_margin(0, (0.40, 0.5)), no_margin(1, (0.5, 0.6)))
    (axes,) = ablations_figure(made).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "no margin loss (n = 2)",
        "frozen backbone (heads and codebooks\nlearn) (n = 1)",
    ]
    places = [(c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in axes.containers]
    assert places == [pytest.approx((-0.07, 0)), pytest.approx((-0.45, 1))]
    assert [c.has_xerr for c in axes.containers] == [True, False]
    assert axes.yaxis_inverted()  # the first on top


def test_small_differences_have_a_panel_where_others_are_far_larger(material):
    made = [
        no_margin(0, (0.49, 0.59)),
        make_ablated("gamma-small", {"gamma": 0.01}, maps=(0.51, 0.61)),
        make_ablated("gamma-large", {"gamma": 100.0}, maps=(0.505, 0.605)),
    ]
    whole, close = ablations_figure(material(*PLAIN, *made, FROZEN)).axes
    assert whole.get_xlim()[0] < -0.45
    assert close.get_xlim() == pytest.approx((-0.0115, 0.0115))
    assert [text.get_text() for text in close.texts] == ["−0.450"]


def test_nothing_without_ablations(material):
    assert ablations_figure(material(make_record())) is None


def test_a_comparison_has_a_line_for_each_length_and_the_mean():
    effects = {
        "8 bits": Comparison("", (0.08, 0.12)),
        "16 bits": Comparison("", missing="no common seed"),
        "mean": Comparison("", (0.5, 0.6, 0.7), against=(0.5, 0.55)),
    }
    (axes,) = effects_figure("one and other", effects).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["8 bits (n = 2)", "mean (n = 3 and 2)"]
    assert [c.lines[0].get_xdata()[0] for c in axes.containers] == pytest.approx([0.1, 0.075])
    assert all(c.has_xerr for c in axes.containers)
    assert axes.yaxis_inverted()
