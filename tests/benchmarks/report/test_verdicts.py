import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.report.intervals import Draw
from benchmarks.report.verdicts import (
    FAILS,
    HOLDS,
    MOST,
    NOT_RUN,
    POINT,
    TIE,
    UNCLEAR,
    Comparison,
    reason_of,
)


def around(mean, n=5, spread=0.001):
    return tuple(mean + spread * np.linspace(-1, 1, n))


def better(values, against=()):
    return Comparison("8 bits", tuple(values), low=POINT, against=tuple(against), tie=POINT)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (around(0.02), HOLDS),
        (around(-0.02), FAILS),
        (around(0.0), TIE),
        (around(0.008), TIE),
        (around(-0.008), TIE),
        (around(0.0105), UNCLEAR),  # a gain, and it is not clear whether of interest
        (around(-0.0105), FAILS),  # worse or equal, but not better
        (around(0.0, spread=0.05), UNCLEAR),
        ((0.02,), UNCLEAR),
        ((), NOT_RUN),
        ((0.02, 0.02, 0.02), HOLDS),  # no spread at all
        ((0.0, 0.0, 0.0), TIE),
    ],
)
def test_an_effect_claimed_to_be_better(values, expected):
    assert better(values).verdict == expected


@pytest.mark.parametrize(
    ("mean", "expected"), [(0.0, HOLDS), (0.019, HOLDS), (0.0203, UNCLEAR), (-0.05, FAILS), (0.05, FAILS)]
)
def test_an_effect_claimed_to_be_small(mean, expected):
    assert Comparison("8 bits", around(mean), low=-0.02, high=0.02).verdict == expected


@pytest.mark.parametrize(("mean", "expected"), [(0.0, HOLDS), (0.5, HOLDS), (-0.0105, UNCLEAR), (-0.02, FAILS)])
def test_an_effect_claimed_to_be_no_loss_is_never_a_tie(mean, expected):
    assert Comparison("8 bits", around(mean), low=-POINT).verdict == expected


def test_two_sides_that_share_nothing_are_compared_by_welch():
    one, other = (0.50, 0.52, 0.54), (0.44, 0.46, 0.45)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    found = better(one, other)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.verdict) == ("3 and 3", HOLDS)
    assert better(one, (0.44,)).verdict == UNCLEAR


def test_chance_in_the_queries_can_take_a_verdict_away():
    values = around(0.015, spread=0.0005)
    queries = 0.015 + np.tile([-0.5, 0.5], 50)
    assert Comparison("", values, low=POINT).verdict == HOLDS
    assert Comparison("", values, low=POINT, draws=(Draw(values, queries),)).verdict == UNCLEAR
    assert Comparison("", values, low=POINT, draws=(Draw(values, 0.0001),)).verdict == HOLDS


VALUES = st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=6)


@given(VALUES, st.one_of(st.just([]), VALUES))
def test_changing_sides_negates(values, against):
    found = better(values, against)
    turned = better(against, values) if against else better([-value for value in values])
    assert turned.interval.mean == pytest.approx(-found.interval.mean)
    assert (found.verdict == TIE) == (turned.verdict == TIE)
    if found.verdict == HOLDS:
        assert turned.verdict == FAILS


def stretched(mean, deviation, n):
    """A sample of just this mean and deviation."""
    values = np.linspace(-1, 1, n)
    return tuple(mean + deviation * values / values.std(ddof=1))


@pytest.mark.parametrize("two_sides", [False, True])
@pytest.mark.parametrize(("mean", "deviation"), [(0.02, 0.01), (0.0, 0.01), (0.013, 0.006), (-0.02, 0.02)])
def test_so_many_repetitions_would_settle_it_and_one_less_would_not(mean, deviation, two_sides):
    def sampled(n):
        return better(stretched(mean, deviation, n), stretched(0.0, deviation, n) if two_sides else ())

    found = sampled(2)
    assert found.verdict == UNCLEAR
    assert 2 < found.needed <= MOST
    assert sampled(found.needed).verdict != UNCLEAR
    assert all(sampled(n).verdict == UNCLEAR for n in range(2, found.needed))


def test_more_seeds_do_not_settle_what_the_queries_leave_open():
    values = stretched(0.02, 0.005, 3)
    assert better(values).needed < 10
    assert Comparison("", values, low=POINT, tie=POINT, draws=(Draw(values, 0.02),)).needed is None


def test_what_a_reader_asks_next():
    assert reason_of(better(around(0.02))) == ""
    assert reason_of(better((0.5,))) == "one repetition has no interval"
    assert reason_of(Comparison("", missing="no runs of DTQ")) == "no runs of DTQ"
    assert reason_of(better(stretched(0.02, 0.01, 3))) == "n = 7"
    assert reason_of(better(around(0.0105))) == "above 0; n = 13"
    assert reason_of(better(around(POINT))) == f"above 0; n > {MOST}"
    assert reason_of(better(stretched(0.0, 0.1, 3))) == f"n > {MOST}"


def test_the_false_verdicts_of_a_claim_on_the_border_are_few():
    """With a true effect on the border a claim is held, and refuted, in about 2.5 % of repetitions each."""
    rng = np.random.default_rng(0)
    verdicts = [Comparison("", tuple(rng.normal(size=5)), low=0.0).verdict for _ in range(2000)]
    assert {v: verdicts.count(v) / 2000 for v in (HOLDS, FAILS)} == pytest.approx(
        {HOLDS: 0.025, FAILS: 0.025}, abs=0.01
    )


def test_no_bound_is_no_border():
    assert Comparison("", around(-math.pi)).verdict == HOLDS
