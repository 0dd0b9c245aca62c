"""From intervals to verdicts: the one rule by which every claim is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from benchmarks.report.intervals import (
    CONFIDENCE,
    Draw,
    Interval,
    error_and_freedom,
    interval_of_difference,
    interval_of_mean,
    resampled_interval,
)

HOLDS, FAILS, TIE, UNCLEAR, NOT_RUN = "holds", "does not hold", "tie", "inconclusive", "not run"
DECIDED = (HOLDS, FAILS, TIE)
# The smallest effect of interest: one point of mAP. Less is no gain, no loss, and the printed value.
POINT = 0.01
MOST = 50  # repetitions that are called for
RULE = f"""An effect is a mean over code lengths, as prefixes of one code are one measurement; n counts seeds or
splits, of both sides where two are given.

- **holds**: the {100 * CONFIDENCE:.0f} % interval lies in the claimed range; *better* is above +{POINT}.
- **tie**: neither side is better; it lies inside ±{POINT}, the smallest effect of interest.
- **does not hold**: it lies outside that range, and is no tie.
- inconclusive: it reaches over an end; in brackets, the n that would settle it at this mean and spread.
- not run: one side has no runs.

Where runs of one seed share an embedding, a code or trained features, or both sides have several splits, intervals are
Student's, of paired differences; else Welch's. A verdict is about its setting and queries. Against printed values
and along one code, draws of splits, seeds and queries enter by a hierarchical bootstrap."""


@dataclass(frozen=True)
class Comparison:
    """One effect, and where the claim puts it.

    It is the mean of `values`, less that of `against` where there are such: then nothing pairs the two. `draws` are the
    values once more, by split and with their queries, where chance in these enters.
    """

    label: str  # what is compared, as a table says it; empty where the claim says it
    values: tuple[float, ...] = ()  # one a repetition; logarithms where `ratio` is set
    low: float = -math.inf  # lower end of the claimed range, in the unit of `values`
    high: float = math.inf  # upper end
    records: tuple[tuple[str, tuple[str, ...]], ...] = ()  # names that the page gives sides, identities of their runs
    ratio: bool = False  # the effect is a ratio, averaged as a logarithm and shown as it is
    missing: str = ""  # what is needed and not there; then there are no values
    against: tuple[float, ...] = ()
    tie: float = 0.0  # an effect whose interval lies within this distance of 0 is a tie
    draws: tuple[Draw, ...] = field(default=(), compare=False)
    parts: tuple[Comparison, ...] = ()  # the same at each code length
    key: str = ""  # tells it from others of its claim

    @cached_property
    def interval(self) -> Interval:
        """Of the effect.

        Raises:
            InputError: there is none.
        """
        if self.draws:
            return resampled_interval(self.draws, self.against)
        return interval_of_difference(self.values, self.against) if self.against else interval_of_mean(self.values)

    @property
    def n(self) -> str:
        """Repetitions; of both sides where they are not paired."""
        return " and ".join(str(len(side)) for side in (self.values, self.against) if side)

    @property
    def verdict(self) -> str:
        """One of the five."""
        if not self.values:
            return NOT_RUN
        low, high = self.interval.low, self.interval.high
        return UNCLEAR if low is None or high is None else self._judge(low, high)

    def _judge(self, low: float, high: float) -> str:
        if self.low < low and high < self.high:
            return HOLDS
        if -self.tie < low and high < self.tie:
            return TIE
        return FAILS if high <= self.low or low >= self.high else UNCLEAR

    @property
    def needed(self) -> int | None:
        """Repetitions, of each side, that would settle what is inconclusive if mean and spread stay as they are.

        None where a repetition says nothing of the spread, or more than `MOST` would be needed.
        """
        n = self.interval.n
        return next((more for more in range(n + 1, MOST + 1) if self._settled(more)), None) if n > 1 else None

    def _settled(self, n: int) -> bool:
        from scipy import stats

        sides = [(np.var(side, ddof=1), n) for side in (self.values, self.against) if side]
        error, freedom = error_and_freedom(*sides)
        tail = (1 + CONFIDENCE) / 2
        reach = float(stats.t.ppf(tail, freedom)) * error
        if len(self.draws) == 1:  # more seeds are of the same queries
            reach = math.hypot(reach, float(stats.norm.ppf(tail)) * self.draws[0].error)
        return self._judge(self.interval.mean - reach, self.interval.mean + reach) != UNCLEAR


def reason_of(comparison: Comparison) -> str:
    """What a reader asks next of a comparison that is not decided; empty where it is."""
    if comparison.verdict == NOT_RUN:
        return comparison.missing
    if comparison.verdict != UNCLEAR:
        return ""
    low, high = comparison.interval.low, comparison.interval.high
    if low is None or high is None:
        return "one repetition has no interval"
    sure = comparison.tie and (low > 0 or high < 0)
    side = f"{'above' if low > 0 else 'below'} 0; " if sure else ""
    return side + (f"n = {comparison.needed}" if comparison.needed else f"n > {MOST}")


def effect_of(comparison: Comparison) -> tuple[str, str]:
    """Mean and interval, as pages have them."""
    mean, *ends = (_number(value, comparison) for value in comparison.interval.known)
    return mean, f"[{', '.join(ends)}]" if ends else ""


def _number(value: float, comparison: Comparison) -> str:
    return f"{math.exp(value):.2f}" if comparison.ratio else f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")
