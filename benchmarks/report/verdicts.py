"""From intervals to verdicts: the one rule by which every claim is decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.intervals import CONFIDENCE, interval_of_mean

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decidable here"
RULE = (
    f"An effect is a mean over n repetitions with Student's {100 * CONFIDENCE:.0f} % interval (`scipy.stats`), of "
    "differences between runs of the same seed where two are compared. Every claim says where its effects lie. "
    "It *holds* if every interval lies inside that range; it *does not hold* if one lies wholly outside, the interval "
    "then widened for the number of comparisons (Bonferroni); else it is *not decidable here*, as it is with a single "
    "repetition or without the runs that it needs. Verdicts are about the setting that they stand under."
)


@dataclass(frozen=True)
class Comparison:
    """One effect, and where the claim puts it."""

    label: str  # what is compared, as a table says it
    values: tuple[float, ...] = ()  # the effect in each repetition; logarithms where `ratio` is set
    low: float = -math.inf  # lower end of the claimed range, in the unit of `values`
    high: float = math.inf  # upper end
    records: tuple[tuple[str, tuple[str, ...]], ...] = ()  # names that the page gives sides, identities of their runs
    ratio: bool = False  # the effect is a ratio, averaged as a logarithm and shown as it is
    missing: str = ""  # what is needed and not there; then there are no values

    def verdict(self, comparisons: int = 1) -> str:
        """Whether the effect lies in the claimed range; `comparisons` is the number that the claim rests on."""
        if len(self.values) < 2:
            return OPEN
        _, low, high = interval_of_mean(self.values).known
        _, least, most = interval_of_mean(self.values, 1 - (1 - CONFIDENCE) / comparisons).known
        if self.low < low and high < self.high:
            return HOLDS
        return FAILS if most <= self.low or least >= self.high else OPEN


def verdict_of(comparisons: Sequence[Comparison]) -> str:
    """The verdict on a claim that rests on all of these comparisons."""
    verdicts = [comparison.verdict(len(comparisons)) for comparison in comparisons]
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts and set(verdicts) == {HOLDS} else OPEN


def reason_of(comparisons: Sequence[Comparison]) -> str:
    """Why a claim is not decidable; empty where it is decided."""
    if verdict_of(comparisons) != OPEN:
        return ""
    if missing := dict.fromkeys(comparison.missing for comparison in comparisons if comparison.missing):
        return "; ".join(missing)
    if any(len(comparison.values) < 2 for comparison in comparisons):
        return "one repetition has no interval"
    return "an interval reaches over the end of the claimed range"
