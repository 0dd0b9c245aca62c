import warnings

import numpy as np
import pytest
from scipy import stats

from benchmarks.report.intervals import (
    Draw,
    interval_of_difference,
    interval_of_mean,
    resampled_interval,
)
from dpq.errors import InputError


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_interval_is_that_of_scipys_paired_test(n):
    rng = np.random.default_rng(n)
    one, other = rng.normal(size=(2, n))
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    interval = interval_of_mean(one - other)
    assert (interval.n, interval.mean) == (n, pytest.approx((one - other).mean()))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [interval_of_mean(rng.normal(1.0, 2.0, size=3), confidence=0.8) for _ in range(2000)]
    held = np.mean([i.low <= 1.0 <= i.high for i in intervals])
    assert 0.77 < held < 0.83


def test_one_repetition_has_no_interval():
    assert interval_of_mean([0.5]) == interval_of_mean((0.5,))
    assert (interval_of_mean([0.5]).low, interval_of_mean([0.5]).high) == (None, None)


def test_equal_repetitions_have_an_interval_of_no_width_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = interval_of_mean([0.25, 0.25, 0.25])
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [float("inf")]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(InputError):
        interval_of_mean(values)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 3), (3, 20)])
def test_the_interval_of_two_sides_is_welchs_and_changing_sides_negates_it(n, m):
    rng = np.random.default_rng(n)
    one, other = rng.normal(0.3, 1.0, n).tolist(), rng.normal(0.0, 3.0, m).tolist()
    found, turned = interval_of_difference(one, other), interval_of_difference(other, one)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.mean) == (min(n, m), pytest.approx(np.mean(one) - np.mean(other)))
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-found.mean, -found.high, -found.low))


def test_two_sides_without_spread_or_with_one_repetition():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = interval_of_difference([0.5, 0.5], [0.25, 0.25, 0.25])
    assert (exact.mean, exact.low, exact.high) == (0.25, 0.25, 0.25)
    single = interval_of_difference([0.5], [0.25, 0.2])
    assert (single.n, single.mean, single.low, single.high) == (1, pytest.approx(0.275), None, None)
    one_sided = interval_of_difference([0.5, 0.5], [0.2, 0.3])
    assert one_sided.low < 0.25 < one_sided.high


@pytest.mark.parametrize("n", [3, 5, 10])
def test_without_chance_in_the_queries_the_bootstrap_is_about_students_interval(n):
    values = tuple(np.random.default_rng(n).normal(0.7, 0.01, n))
    student = interval_of_mean(values)
    for found in (
        resampled_interval([Draw(values)]),
        resampled_interval([Draw(values, np.full(50, 0.7))]),
        resampled_interval([Draw((value,)) for value in values]),  # as many splits of one seed
    ):
        assert (found.n, found.mean) == (n, pytest.approx(student.mean))
        assert found.high - found.low == pytest.approx(student.high - student.low, rel=0.12)
        assert found.low < found.mean < found.high


def test_without_chance_in_the_seeds_it_is_scipys_bootstrap_of_the_queries():
    queries = np.random.default_rng(0).beta(4, 1, 1000)
    alike = (float(queries.mean()),) * 3
    found = resampled_interval([Draw(alike, queries)])
    expected = stats.bootstrap((queries,), np.mean, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.0005)
    stated = resampled_interval([Draw(alike, Draw(alike, queries).error)])
    assert (stated.low, stated.high) == pytest.approx((expected.low, expected.high), abs=0.0007)


def test_the_standard_error_of_the_queries_is_scipys():
    queries = np.random.default_rng(0).random(40)
    assert Draw((0.5,), queries).error == pytest.approx(stats.sem(queries))
    assert (Draw((0.5,), 0.02).error, Draw((0.5,)).error) == (0.02, 0.0)


def test_the_bootstrap_is_the_same_every_time():
    draw = Draw((0.1, 0.2, 0.4), np.random.default_rng(0).random(30))
    assert resampled_interval([draw]) == resampled_interval([draw])


def test_another_side_is_drawn_apart_and_its_spread_counts():
    one, other = (0.50, 0.52, 0.54), (0.40, 0.44, 0.42, 0.41)
    found, welch = resampled_interval([Draw(one)], other), interval_of_difference(one, other)
    assert (found.n, found.mean) == (3, pytest.approx(welch.mean))
    assert found.high - found.low == pytest.approx(welch.high - welch.low, rel=0.25)
    alike, alone = resampled_interval([Draw(one)], (0.4,) * 4), resampled_interval([Draw(one)])
    assert (alike.low + 0.4, alike.high + 0.4) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize(("draws", "against"), [([Draw((0.5,), 0.01)], ()), ([Draw((0.5, 0.6))], (0.1,))])
def test_one_repetition_has_no_resampled_interval(draws, against):
    found = resampled_interval(draws, against)
    assert (found.n, found.low, found.high) == (1, None, None)


@pytest.mark.parametrize(("splits", "seeds"), [(1, 3), (1, 5), (3, 2)])
def test_the_resampled_interval_holds_the_truth_as_often_as_it_says(splits, seeds):
    """Splits, seeds, queries and what a seed does to a query, all with chance of their own; the truth is 0."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(120):
        draws = []
        for _ in range(splits):
            queries = rng.normal(0, 0.2, 60) + (rng.normal(0, 0.02) if splits > 1 else 0.0)
            each = rng.normal(0, 0.02, (seeds, 1)) + queries + rng.normal(0, 0.1, (seeds, 60))
            draws.append(Draw(tuple(each.mean(axis=1)), each.mean(axis=0)))
        found = resampled_interval(draws)
        held += found.low <= 0 <= found.high
    assert held / 120 > 0.9


def test_without_the_queries_an_interval_of_few_queries_misses_the_truth():
    """What the bootstrap is for: seeds that rank the same queries agree on a mean that other queries would not give."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        queries = rng.normal(0, 0.2, 60)
        held += abs(queries.mean()) < interval_of_mean(queries.mean() + rng.normal(0, 0.003, 5)).high - queries.mean()
    assert held / 200 < 0.5
