from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmarks.report.pages.comparison import LEVEL, beyond_chance, common_lengths, make_comparison_page, order_of
from benchmarks.report.study import Study
from benchmarks.report.verdicts import Comparison
from tests.benchmarks.made_up import each, made_up_identities, run, section

__all__ = ["made_up_identities"]

RANDOM = np.random.default_rng(0)


def adjusted(p_values):
    """Benjamini and Yekutieli's p-values, by their definition."""
    m, order = len(p_values), np.argsort(p_values)
    harmonic = sum(1 / k for k in range(1, m + 1))
    found = np.empty(m)
    least = 1.0
    for rank in range(m, 0, -1):
        least = min(least, p_values[order[rank - 1]] * m * harmonic / rank)
        found[order[rank - 1]] = least
    return found


def test_the_calls_are_those_of_the_corrected_tests():
    means = [0.5, 0.505, 0.6, 0.602, 0.8]
    groups = [tuple(RANDOM.normal(mean, 0.004, size=4)) for mean in means]
    pairs = list(combinations(groups, 2))
    made = [Comparison("", values=one, against=other) for one, other in pairs]
    known = [stats.ttest_ind(one, other, equal_var=False).pvalue for one, other in pairs]
    called = beyond_chance(made)
    assert called == [bool(p < LEVEL) for p in adjusted(np.array(known))]
    assert set(called) == {True, False}


def test_many_comparisons_call_less_than_each_alone():
    groups = [tuple(RANDOM.normal(0.5, 0.01, size=3)) for _ in range(30)]
    made = [Comparison("", values=one, against=other) for one, other in combinations(groups, 2)]
    alone = sum(bool(beyond_chance([one])[0]) for one in made)
    assert alone > 5
    assert sum(map(bool, beyond_chance(made))) == 0


def test_one_repetition_is_unknown_and_equal_values_are_no_difference():
    assert beyond_chance([]) == []
    assert beyond_chance([Comparison("", values=(0.5,))]) == [None]
    assert beyond_chance([Comparison("", values=(0.5, 0.6), against=(0.4,))]) == [None]
    assert beyond_chance([Comparison("", values=(0.0, 0.0)), Comparison("", values=(0.1, 0.1))]) == [False, True]


@pytest.fixture
def records():
    own = [run("dpq", k, maps) for k, maps in enumerate([(0.80, 0.82), (0.81, 0.83), (0.80, 0.83)])]
    rival = [one for k, m in enumerate([(0.60, 0.71), (0.62, 0.72), (0.61, 0.70)]) for one in each("dqn", k, m)]
    control = [run("rq-dpq", k, maps) for k, maps in enumerate([(0.79, 0.82), (0.80, 0.83), (0.79, 0.83)])]
    return own + rival + control


def test_methods_stand_by_their_mean_with_what_they_are_not_told_apart_from(records):
    places = order_of(section(records))
    assert [place.title for place in places] == ["DPQ", "RQ on DPQ's embedding", "DQN"]
    assert places[0].mean == pytest.approx(np.mean([0.81, 0.82, 0.815]))
    assert places[0].n == 3
    # Paired by seed, the control is the same 0.005 below each time.
    assert places[0].above == ("RQ on DPQ's embedding", "DQN")
    assert places[0].level == places[2].above == ()


def test_only_lengths_that_all_have_count(records):
    longer = section([*records, *each("dtq", 0, (0.1, 0.1, 0.9), bits=(8, 16, 24))])
    assert common_lengths(longer) == [8, 16]
    assert order_of(longer)[-1].mean == pytest.approx(0.1)


def test_one_seed_each_says_that_the_order_is_unknown(tmp_path, records):
    one_seed = section([record for record in records if record["seed"] == 0])
    assert all(place.unknown for place in order_of(one_seed))
    page = make_comparison_page([Study(tmp_path, "cifar10", (one_seed,))], 0.01)
    assert page.count("one repetition: unknown") == 3
    assert "Mean mAP at 8, 16 bits." in page


def test_two_methods_are_no_order(tmp_path, records):
    two = section([record for record in records if record["method"] != "dqn"])
    assert order_of(two) == []
    assert "## cifar10" not in make_comparison_page([Study(tmp_path, "cifar10", (two,))], 0.01)
