"""Means over repetitions and their differences, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError

CONFIDENCE = 0.95
DRAWS, SEED = 4000, 0  # of the bootstrap, which is the same on every machine


@dataclass(frozen=True)
class Interval:
    """A mean over n repetitions and what n of them say about it."""

    n: int  # repetitions; of two sides, of the one that has fewer
    mean: float
    low: float | None  # lower end of Student's interval for the mean; missing with one repetition
    high: float | None  # upper end

    @property
    def known(self) -> list[float]:
        """Mean and ends; the mean alone of one repetition."""
        return [value for value in (self.mean, self.low, self.high) if value is not None]


@dataclass(frozen=True)
class Draw:
    """One draw of the images: what its seeds gave, and how far queries lie apart."""

    seeds: tuple[float, ...]  # the effect by each seed
    # The effect at each query, [Q], mean over the seeds; or the standard error of its mean, where that alone is stated.
    queries: NDArray[np.float64] | float = 0.0

    @property
    def error(self) -> float:
        """Standard error that the draw of the queries gives the mean."""
        if isinstance(self.queries, float):
            return self.queries
        return float(self.queries.std(ddof=1) / len(self.queries) ** 0.5)


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


def interval_of_difference(one: Sequence[float], other: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Welch's interval for the difference of two means whose repetitions have nothing in common.

    Args:
        one: one value a repetition.
        other: the same of the side that is taken away.
        confidence: as of `interval_of_mean`.

    Raises:
        InputError: as `interval_of_mean`, of either side.
    """
    from scipy import stats

    sides = [interval_of_mean(side, confidence) for side in (one, other)]
    n, mean = min(side.n for side in sides), sides[0].mean - sides[1].mean
    if n < 2:
        return Interval(n, mean, None, None)
    error, freedom = error_and_freedom((np.var(one, ddof=1), len(one)), (np.var(other, ddof=1), len(other)))
    low, high = stats.t.interval(confidence, freedom, loc=mean, scale=error) if error else (mean, mean)
    return Interval(n, mean, float(low), float(high))


def error_and_freedom(*sides: tuple[float | np.floating[Any], int]) -> tuple[float, float]:
    """Standard error of a mean or a difference of two, and its degrees of freedom after Welch and Satterthwaite.

    Args:
        sides: of each side the variance and the number of its repetitions, two at least.
    """
    squares = [float(variance) / n for variance, n in sides]
    parts = sum(square**2 / (n - 1) for square, (_, n) in zip(squares, sides, strict=True))
    return sum(squares) ** 0.5, sum(squares) ** 2 / parts if parts else float(min(n for _, n in sides) - 1)


def resampled_interval(
    draws: Sequence[Draw], against: Sequence[float] = (), confidence: float = CONFIDENCE
) -> Interval:
    """Percentile interval of a hierarchical bootstrap over splits, the seeds in each, and the queries in each.

    All seeds of a split have the same queries, so queries are drawn beside seeds and not below them (Owen, Annals of
    Applied Statistics 2007). A bootstrap of few units is too narrow; the outermost level, of which there are few, is
    expanded as Hesterberg does (The American Statistician 2015, section 4.4), so that with queries that are alike the
    interval is about Student's, or Welch's. It has no ends where the outermost level has one unit.

    Args:
        draws: one a split. Seeds are the outermost level where there is one split.
        against: values of another side, repetitions that share nothing with those of the one split; they are taken
            away, and drawn apart. The queries of the draw are then those of the difference.
        confidence: share of such intervals that hold the true mean.
    """
    from scipy import stats

    rng = np.random.default_rng(SEED)
    centre = float(np.mean([np.mean(draw.seeds) for draw in draws])) - (float(np.mean(against)) if against else 0.0)
    units = [float(np.mean(draw.seeds)) for draw in draws] if len(draws) > 1 else list(draws[0].seeds)
    sides = [units, list(against)] if against else [units]
    n, tail = min(map(len, sides)), (1 + confidence) / 2
    if n < 2:
        return Interval(n, centre, None, None)
    _, freedom = error_and_freedom(*((np.var(side, ddof=1), len(side)) for side in sides))
    wider = float(stats.t.ppf(tail, freedom) / stats.norm.ppf(tail))
    outer = [wider * (len(side) / (len(side) - 1)) ** 0.5 * _moved(rng, np.array(side)) for side in sides]
    moved = outer[0] - outer[1] if against else outer[0]
    if len(draws) == 1:
        moved += _moved_by_queries(rng, draws[0])
    else:
        picked = rng.integers(len(draws), size=(len(draws), DRAWS))
        for which in picked:  # a split that is drawn twice has other seeds and queries each time
            inner = np.stack([_moved(rng, np.array(one.seeds)) + _moved_by_queries(rng, one) for one in draws])
            moved += inner[which, np.arange(DRAWS)] / len(draws)
    low, high = centre + np.quantile(moved, [1 - tail, tail])
    return Interval(n, centre, float(low), float(high))


def _moved(rng: np.random.Generator, sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the mean of a resample lies from that of the sample, [DRAWS]."""
    n = len(sample)
    moved: NDArray[np.float64] = sample[rng.integers(n, size=(DRAWS, n))].mean(axis=1) - sample.mean()
    return moved


def _moved_by_queries(rng: np.random.Generator, draw: Draw) -> NDArray[np.float64]:
    if isinstance(draw.queries, float):
        return draw.queries * rng.standard_normal(DRAWS)
    return _moved(rng, draw.queries)
