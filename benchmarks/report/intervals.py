"""Means over repetitions, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over n repetitions and what n of them say about it."""

    n: int  # repetitions
    mean: float
    low: float | None  # lower end of Student's interval for the mean; missing with one repetition
    high: float | None  # upper end

    @property
    def known(self) -> list[float]:
        """Mean and ends; the mean alone of one repetition."""
        return [value for value in (self.mean, self.low, self.high) if value is not None]


def repetitions(units: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The repetition that each run counts for, by their `Record.unit`: of several splits the split, else the unit."""
    several = list(units)
    splits = {split for split, _ in several}
    return [(split, 0) for split, _ in several] if len(splits) > 1 else several


def per_unit(pairs: Iterable[tuple[tuple[int, int], Any]]) -> NDArray[np.float64]:
    """One value per repetition, [n, ...], in their order: what runs of one measured is averaged.

    Args:
        pairs: `Record.unit` of a run, and a number or numbers that it gave; of all runs that are averaged.
    """
    found = list(pairs)
    values: dict[tuple[int, int], list[Any]] = {}
    for one, (_, value) in zip(repetitions(unit for unit, _ in found), found, strict=True):
        values.setdefault(one, []).append(value)
    return np.array([np.mean(values[one], axis=0) for one in sorted(values)], dtype=np.float64)


def interval_of_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval for the mean of independent repetitions.

    Args:
        values: one a repetition.
        confidence: share of such intervals that hold the true mean.

    Raises:
        InputError: no value, one that is not finite, or a confidence outside (0, 1).
    """
    from scipy import stats  # takes seconds, and tables need none of it

    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all() or not 0 < confidence < 1:
        raise InputError(f"no interval of {len(values)} values {list(values)} at confidence {confidence}")
    n, mean = len(sample), float(sample.mean())
    if n < 2:
        return Interval(n, mean, None, None)
    error = float(stats.sem(sample))  # 0 where repetitions agree to the last bit
    low, high = stats.t.interval(confidence, n - 1, loc=mean, scale=error) if error else (mean, mean)
    return Interval(n, mean, float(low), float(high))
