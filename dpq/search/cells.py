"""Exact search among coded images without a list of centroids: the first levels of a code are its list.

Images stand in the order of their codes, so those that begin with the same codewords are neighbours: a cell. What the
codewords that are left can still add to the score of a cell has a bound, and a search goes from cell to cell by bound
until none can hold an answer any more: branch and bound over prefixes. Most images are never looked at.

Axes: N images, k answers, C cells, M levels, K codewords, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.codes.additive import check_codebook_size
from dpq.learning.settings import Score

PREFIX_BITS = 16  # that a cell has at most: 65,536 cells
LARGE = 4096  # images; a larger cell is divided by its next level before they are looked at
AT_ONCE = 64  # cells that are looked at before the bound is compared again
_EPS = 2.0**-24  # half a unit of float32's last digit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """The images of one query that can be among its k nearest, and how many were looked at."""

    rows: Ints  # of the images as they were given; a few more than k where scores are nearly or fully equal
    looked_at: int


class Cells:
    """Images in the order of their codes.

    Args:
        codes: [N, M] uint8.
        codebooks: [M, K, D] float.
        score: "inner" or "l2", as for `dpq.ranking.scores.asymmetric_scores`.

    Raises:
        InputError: a number of codewords that no code has.
    """

    def __init__(self, codes: NDArray[np.uint8], codebooks: NDArray[np.floating[Any]], score: Score) -> None:
        levels, size, _ = codebooks.shape
        step = check_codebook_size(size).bit_length() - 1
        self.codebooks, self.score, self.size = codebooks.astype(np.float64), score, size
        self.rows = np.lexsort(codes.T[::-1])  # stable: images of one code keep their order
        self.codes = np.ascontiguousarray(codes[self.rows])
        self.prefix = max(1, min(levels, PREFIX_BITS // step))
        first = self.codes[:, : self.prefix].astype(np.int64)
        key = first @ size ** np.arange(self.prefix)[::-1]
        self._start = np.flatnonzero(np.diff(key, prepend=-1))  # of every cell that is not empty, [C]
        self._stop = np.append(self._start[1:], len(codes)) if len(codes) else self._start
        self._first = first[self._start]  # [C, prefix]
        self._products = {
            (one, two): self.codebooks[one] @ self.codebooks[two].T for one, two in combinations(range(levels), 2)
        }
        self._norms = np.square(self.codebooks).sum(axis=2)  # [M, K]
        self._radius, self._least = self._extents()

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.codes)

    def _squares(self, codes: NDArray[np.integer[Any]], begin: int) -> Floats:
        """Squared norms of what the levels from `begin` on add, of codes or prefixes [n, m], [n]."""
        levels = range(begin, codes.shape[1])
        total = np.zeros(len(codes))
        for level in levels:
            total += self._norms[level][codes[:, level]]
        for one, two in combinations(levels, 2):
            total += 2 * self._products[one, two][codes[:, one], codes[:, two]]
        return np.maximum(total, 0)

    def _extents(self) -> tuple[Floats, Floats]:
        """Of every cell: how far an image is from the sum of its first codewords at most; its least squared norm."""
        if not len(self.codes):
            return np.zeros(0), np.zeros(0)
        radius = np.sqrt(np.maximum.reduceat(self._squares(self.codes, self.prefix), self._start))
        least = np.zeros(len(radius))
        if self.score == "l2":
            least = np.minimum.reduceat(self._squares(self.codes, 0), self._start)
        return radius, least

    def nearest(self, query: Floats, k: int) -> Answers:
        """The images that can be among the k nearest of a query [D], by scores in float32 and, of equal ones, by row.

        None is missing, whatever order the sums of a score are taken in. Those of equal codes beyond the first k are
        left out.
        """
        k = min(k, len(self))
        tables = np.einsum("d,mkd->mk", query, self.codebooks)  # [M, K]
        twice = 2 if self.score == "l2" else 1
        slack = 8 * _EPS * twice * float(np.abs(tables).max(axis=1).sum())
        if self.score == "l2":
            slack += 8 * _EPS * float(np.sqrt(self._norms.max(axis=1)).sum() ** 2)
        pool = self._first_cells(query, tables)
        found, rows, looked, least = np.zeros(0), np.zeros(0, np.int64), 0, -np.inf
        while k and len(pool.bound):
            pool = pool.take(pool.bound >= least - slack)
            if len(pool.bound) > AT_ONCE:
                best = np.argpartition(-pool.bound, AT_ONCE)
                now, pool = pool.take(best[:AT_ONCE]), pool.take(best[AT_ONCE:])
            else:
                now, pool = pool, pool.take(np.zeros(0, np.int64))
            large = (now.stop - now.start > LARGE) & (now.level < self.codes.shape[1])
            pool = pool.joined(self._divided(now.take(large), tables))
            where, scores = self._scored(now.take(~large), tables, k)
            looked += len(where)
            found, rows = np.concatenate([found, scores]), np.concatenate([rows, self.rows[where]])
            if len(found) > k:
                least = float(np.partition(found, len(found) - k)[len(found) - k])
                kept = found >= least - slack
                found, rows = _first_of_equal(found[kept], rows[kept], k)
        return Answers(rows, looked)

    def _first_cells(self, query: Floats, tables: Floats) -> _Pool:
        inner = np.zeros(len(self._first))  # [C]
        for level in range(self.prefix):
            inner += tables[level].take(self._first[:, level])
        rest = tables[self.prefix :].max(axis=1, initial=-np.inf).sum() if self.prefix < len(tables) else 0.0
        length = float(np.linalg.norm(query))
        bound = inner + np.minimum(rest, length * self._radius)
        if self.score == "l2":
            centres = self._squares(self._first, 0)
            apart = np.sqrt(np.maximum(length**2 - 2 * inner + centres, 0))  # of the query and the first codewords' sum
            by_distance = length**2 - np.square(np.maximum(apart - self._radius, 0))
            bound = np.minimum(2 * bound - self._least, by_distance)
        return _Pool(bound, self._start, self._stop, np.full(len(bound), self.prefix), self._least)

    def _divided(self, cells: _Pool, tables: Floats) -> _Pool:
        """Cells by one level more."""
        parts = [_Pool.empty()]
        for start, stop, which, least in zip(cells.start, cells.stop, cells.level, cells.least, strict=True):
            level = int(which)
            column = self.codes[start:stop, level]
            edges = start + np.searchsorted(column, np.arange(self.size + 1))
            there = np.flatnonzero(np.diff(edges))
            code = self.codes[start, :level].astype(np.int64)
            inner = tables[np.arange(level), code].sum() + tables[level][there]
            bound = inner + tables[level + 1 :].max(axis=1, initial=-np.inf).sum() if level + 1 < len(tables) else inner
            if self.score == "l2":
                bound = 2 * bound - least
            several = np.full(len(there), level + 1)
            parts.append(_Pool(bound, edges[there], edges[there + 1], several, np.full(len(there), least)))
        return _Pool.of(parts)

    def _scored(self, cells: _Pool, tables: Floats, k: int) -> tuple[Ints, Floats]:
        """Places of the images of cells, and their scores; of cells of one whole code the first k images."""
        whole = cells.level == self.codes.shape[1]
        stop = np.where(whole, np.minimum(cells.stop, cells.start + k), cells.stop)
        counts = stop - cells.start
        ends = np.cumsum(counts)
        where = np.repeat(cells.start - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
        codes = self.codes[where]
        scores = np.zeros(len(where))
        for level, table in enumerate(tables):
            scores += table[codes[:, level]]
        return where, scores if self.score == "inner" else 2 * scores - self._squares(codes, 0)


@dataclass(frozen=True)
class _Pool:
    """Cells that are still to be looked at: bound of their scores, place, number of levels, least squared norm."""

    bound: Floats
    start: Ints
    stop: Ints
    level: Ints
    least: Floats

    def take(self, which: NDArray[Any]) -> _Pool:
        return _Pool(*(each[which] for each in vars(self).values()))

    def joined(self, other: _Pool) -> _Pool:
        return _Pool.of([self, other]) if len(other.bound) else self

    @classmethod
    def of(cls, several: list[_Pool]) -> _Pool:
        return cls(*(np.concatenate(each) for each in zip(*(vars(one).values() for one in several), strict=True)))

    @classmethod
    def empty(cls) -> _Pool:
        whole = np.zeros(0, np.int64)
        return cls(np.zeros(0), whole, whole, whole, np.zeros(0))


def _first_of_equal(scores: Floats, rows: Ints, k: int) -> tuple[Floats, Ints]:
    """Of images of one score those with the k lowest rows."""
    order = np.lexsort((rows, -scores))
    scores, rows = scores[order], rows[order]
    begins = np.flatnonzero(np.diff(scores, prepend=np.inf))
    place = np.arange(len(scores)) - np.repeat(begins, np.diff(np.append(begins, len(scores))))
    return scores[place < k], rows[place < k]
