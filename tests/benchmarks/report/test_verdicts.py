import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.report.verdicts import FAILS, HOLDS, OPEN, Comparison, reason_of, verdict_of


def around(mean, n=5, spread=0.001):
    return tuple(mean + spread * np.linspace(-1, 1, n))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (around(0.02), HOLDS),
        (around(-0.02), FAILS),
        (around(0.0), OPEN),
        ((0.02,), OPEN),
        ((), OPEN),
        ((0.02, 0.02, 0.02), HOLDS),  # no spread at all
        ((0.0, 0.0, 0.0), FAILS),  # nowhere above 0
    ],
)
def test_an_effect_claimed_to_be_above_zero(values, expected):
    assert Comparison("8 bits", values, low=0.0).verdict() == expected


@pytest.mark.parametrize(
    ("mean", "expected"), [(0.0, HOLDS), (0.019, HOLDS), (0.0203, OPEN), (-0.05, FAILS), (0.05, FAILS)]
)
def test_an_effect_claimed_to_be_small(mean, expected):
    assert Comparison("8 bits", around(mean), low=-0.02, high=0.02).verdict() == expected


def test_a_refutation_among_many_comparisons_needs_a_wider_interval():
    values = (-0.03, -0.01, -0.02, -0.008)
    alone, corrected = (stats.ttest_1samp(values, 0).confidence_interval(c).high for c in (0.95, 1 - 0.05 / 4))
    assert alone < 0 < corrected  # what the case is made for
    comparison = Comparison("8 bits", values, low=0.0)
    assert (comparison.verdict(1), comparison.verdict(4)) == (FAILS, OPEN)


def test_several_comparisons_do_not_make_it_easier_to_hold():
    values = tuple(-v for v in (-0.03, -0.01, -0.02, -0.008))
    comparison = Comparison("8 bits", values, low=0.0)
    assert comparison.verdict(1) == comparison.verdict(4) == HOLDS


def test_a_claim_needs_all_of_its_comparisons():
    good, bad, unclear = (Comparison("", around(m), low=0.0) for m in (0.02, -0.02, 0.0))
    assert verdict_of([good, good]) == HOLDS
    assert verdict_of([good, bad]) == FAILS
    assert verdict_of([good, unclear]) == OPEN
    assert verdict_of([unclear, bad]) == FAILS
    assert verdict_of([]) == OPEN


def test_why_a_claim_is_not_decidable():
    good, unclear, single = (Comparison("", v, low=0.0) for v in (around(0.02), around(0.0), (0.5,)))
    missing = Comparison("", missing="no runs of DTQ")
    assert reason_of([good]) == ""
    assert reason_of([good, missing, missing]) == "no runs of DTQ"
    assert reason_of([good, single]) == "one repetition has no interval"
    assert "interval" in reason_of([unclear])


def test_the_false_verdicts_of_a_claim_on_the_border_are_few():
    """With a true effect of 0 a claim "above 0" is held, and refuted, in about 2.5 % of repetitions each."""
    rng = np.random.default_rng(0)
    verdicts = [Comparison("", tuple(rng.normal(size=5)), low=0.0).verdict() for _ in range(2000)]
    assert {v: verdicts.count(v) / 2000 for v in (HOLDS, FAILS)} == pytest.approx(
        {HOLDS: 0.025, FAILS: 0.025}, abs=0.01
    )


def test_no_bound_is_no_border():
    assert Comparison("", around(-math.pi)).verdict() == HOLDS
