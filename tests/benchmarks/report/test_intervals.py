import warnings

import numpy as np
import pytest
from scipy import stats

from benchmarks.report.intervals import interval_of_mean
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
