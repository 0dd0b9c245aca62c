import numpy as np
import pytest

from benchmarks.figures.retrieval import precision_at_k_figure, precision_recall_figure
from tests.benchmarks.conftest import make_record
from tests.benchmarks.figures.conftest import curve


@pytest.fixture
def two_seeds(material):
    one, other = make_record(), make_record(seed=1)
    other["lengths"][1] |= {"pr": [[r, 0.5] for r, _ in other["lengths"][1]["pr"]]}
    other["lengths"][1] |= {"precision_at": dict.fromkeys(("1", "10", "100", "500", "1000"), 0.1)}
    dqn = [make_record("dqn"), make_record("dqn", bits=(8,), maps=(0.5,), id="dqn-8")]
    return material(one, other, *dqn)


def test_precision_against_recall_is_a_mean_over_seeds_of_the_longest_code(two_seeds):
    (axes,) = precision_recall_figure(two_seeds).axes
    recall, precision, _ = curve(axes, "DPQ")
    assert recall == pytest.approx(np.linspace(0.1, 1, 10))
    assert precision == pytest.approx((1 - recall / 2 + 0.5) / 2)
    assert curve(axes, "DQN")[1] == pytest.approx(1 - recall / 2)


def test_truncated_codes_are_left_out(two_seeds):
    for figure in (precision_recall_figure(two_seeds), precision_at_k_figure(two_seeds)):
        assert sorted(line.get_label() for line in figure.axes[0].lines) == ["DPQ", "DQN"]


def test_precision_at_k_on_a_logarithmic_axis(two_seeds):
    axes = precision_at_k_figure(two_seeds).axes[0]
    ks, precision, _ = curve(axes, "DPQ")
    assert axes.get_xscale() == "log"
    assert np.log10(ks) == pytest.approx(np.log10([1, 10, 100, 500, 1000]), abs=0.1)
    assert precision == pytest.approx([0.5, 0.45, 0.4, 0.35, 0.3])


def test_a_method_without_the_longest_length_is_left_out(material):
    made = material(make_record(), make_record("dqn", bits=(8,), maps=(0.5,)))
    for figure in (precision_recall_figure(made), precision_at_k_figure(made)):
        assert [line.get_label() for line in figure.axes[0].lines] == ["DPQ"]
