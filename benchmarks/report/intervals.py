"""Means over repetitions, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over n repetitions and what n of them say about it.

    Attributes:
        n: repetitions.
        mean: their mean.
        low: lower end of Student's interval for the mean; missing with one repetition.
        high: upper end.
    """

    n: int
    mean: float
    low: float | None
    high: float | None


def per_unit(pairs: Iterable[tuple[int, Any]]) -> NDArray[np.float64]:
    """One value per repetition, [n, ...], in their order: what runs of one measured is averaged.

    Args:
        pairs: `Record.unit` of a run, and a number or numbers that it gave.
    """
    units: dict[int, list[Any]] = {}
    for unit, value in pairs:
        units.setdefault(unit, []).append(value)
    return np.array([np.mean(units[unit], axis=0) for unit in sorted(units)], dtype=np.float64)


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
    mean, error = float(sample.mean()), float(stats.sem(sample)) if len(sample) > 1 else math.nan
    if len(sample) < 2:
        return Interval(1, mean, None, None)
    if error == 0:  # repetitions that agree to the last bit
        return Interval(len(sample), mean, mean, mean)
    low, high = stats.t.interval(confidence, len(sample) - 1, loc=mean, scale=error)
    return Interval(len(sample), mean, float(low), float(high))
