"""Rankings on a GPU: all images of a block in one sort, and the closed forms of `dpq.ranking.ties` on tensors.

On a CPU, distinct codes are ranked in place of images, as that is less work. A GPU has the strength to sort images, and
with them comes the order of tied images in the database. Axes: Q queries, B queries of a block, N items, U distinct
codes, M levels, K codewords, D dimensions, S values of all segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor
from tqdm import tqdm

from dpq.errors import InputError
from dpq.learning.settings import Score
from dpq.ranking.relevance import Relevance
from dpq.ranking.scores import DistinctCodes
from dpq.ranking.ties import NAN_SCORES, Arrays, RankedGroups, harmonic_numbers

MOST = 2**24  # items ranked at once, over all queries of a block: enough to fill a GPU, in about 5 GB
BYTES = 300  # memory that one of them takes, at most


class Tensors(Arrays):
    """PyTorch on a device, for rankings of up to `size` items.

    Sums repeat to the last bit: none is added atomically.
    """

    exp = staticmethod(torch.exp)
    minimum = staticmethod(torch.minimum)
    repeat = staticmethod(torch.repeat_interleave)
    roll = staticmethod(torch.roll)
    searchsorted = staticmethod(torch.searchsorted)
    where = staticmethod(torch.where)

    def __init__(self, device: torch.device, size: int) -> None:
        self.device = device
        # Computed as for the CPU, so that both read the same digits.
        self._harmonic = self.array(harmonic_numbers(size))
        self._log_factorials = self.array(gammaln(np.arange(size + 1) + 1.0))

    def arange(self, size: int) -> Tensor:
        """Whole numbers below `size`."""
        return torch.arange(size, device=self.device)

    def array(self, values: Any) -> Tensor:
        """An array of NumPy on the device."""
        return torch.as_tensor(values, device=self.device)

    @staticmethod
    def at_least(numbers: Tensor, least: int) -> Tensor:
        """The larger of each number and `least`."""
        return numbers.clamp(min=least)

    @staticmethod
    def clip(numbers: Tensor, least: Any, most: Any) -> Tensor:
        """Numbers within bounds, each of them a number or a tensor."""
        return numbers.clamp(min=least).clamp(max=most)

    @staticmethod
    def flatnonzero(flags: Tensor) -> Tensor:
        """Where flags are set."""
        return flags.flatten().nonzero()[:, 0]

    @staticmethod
    def row_sums(rows: Tensor, values: Tensor, count: int) -> Tensor:
        """Sums of the values of each row."""
        if not len(values):
            return values.new_zeros(count)
        bounds = torch.searchsorted(rows, torch.arange(count + 1, device=rows.device))
        return torch.segment_reduce(values, "sum", lengths=bounds.diff(), unsafe=True)

    def real(self, numbers: Tensor) -> Tensor:
        """Whole numbers as float64."""
        return numbers.double()

    def reduce(self, how: Literal["sum", "min", "max"], values: Tensor, lengths: Tensor) -> Tensor:
        """Sum, least or largest value of every segment; its lengths are not looked at, which would stall a GPU."""
        return torch.segment_reduce(values, how, lengths=lengths, unsafe=True)

    def harmonic(self, sizes: Tensor) -> Tensor:
        """Those of all rankings."""
        return self._harmonic

    def log_factorial(self, numbers: Tensor) -> Tensor:
        """Of whole numbers up to the items of a ranking."""
        return self._log_factorials[numbers]


class ItemRanking:
    """Items ranked by score on a device, as `dpq.ranking.codes.CodeRanking` ranks codes.

    Args:
        scores: [B, N] float.
        relevant: [B, N] bool.
        arrays: of the device.

    Raises:
        InputError: NaN scores.
    """

    def __init__(self, scores: Tensor, relevant: Tensor, arrays: Tensors) -> None:
        if scores.isnan().any():
            raise InputError(NAN_SCORES)
        # Ascending and stable: the smaller index comes first among equals. The difference makes -0.0 and 0.0 one value.
        keys, order = (0.0 - scores).sort(dim=1, stable=True)
        self.arrays, self.size = arrays, scores.shape[1]
        self.relevant = relevant.gather(1, order)
        self.hits = self.relevant.cumsum(1)  # up to every rank
        self.ends = torch.ones_like(relevant)  # last items of groups
        torch.ne(keys[:, 1:], keys[:, :-1], out=self.ends[:, :-1])

    def groups(self, top_r: int | None = None, ranks: Sequence[int] = ()) -> RankedGroups:
        """All tie groups; none is merged for want of `top_r` or `ranks`."""
        last = self.arrays.flatnonzero(self.ends)
        query = last // self.size
        first = torch.searchsorted(query, self.arrays.arange(len(self.ends)))
        items, hits = last % self.size + 1, self.hits.flatten()[last]  # up to the end of each group
        before, hits_before = (each.roll(1).index_fill(0, first, 0) for each in (items, hits))
        numbers: Any = query, items - before, hits - hits_before, before, hits_before, first
        given = *numbers, self.arrays
        return RankedGroups(*given)

    def average_in_database_order(self, top_r: int) -> Tensor:
        """As that of `CodeRanking`, [B]."""
        relevant, hits = self.relevant[:, :top_r], self.hits[:, :top_r]
        precision = hits.double() / self.arrays.arange(hits.shape[1]).add(1)
        return torch.where(relevant, precision, 0).sum(dim=1) / hits[:, -1].clamp(min=1)


def ranked(
    scored: Callable[[slice], Tensor], relevance: Relevance, device: torch.device, progress: bool
) -> Iterator[ItemRanking]:
    """Rank all items on a device, in blocks of queries that its memory holds beside what else is there.

    Args:
        scored: scores of some queries on the device, [B, N].
        relevance: of all items to all queries.
        device: where.
        progress: show a bar while stderr is a terminal.
    """
    queries, size = relevance.of_query.shape[1], relevance.of_item.shape[1]
    arrays, shared, entries = Tensors(device, size), relevance.on(device), MOST
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + unused
        entries = min(entries, free // (2 * BYTES))  # half of it, as other runs may share the GPU
    step = max(1, entries // size)
    for start in tqdm(range(0, queries, step), "rank", leave=False, disable=None if progress else True):
        rows = slice(start, start + step)
        relevant: Any = shared.to(rows)
        yield ItemRanking(scored(rows), relevant, arrays)


def code_scores(
    tables: NDArray[Any], offsets: NDArray[Any] | None, distinct: DistinctCodes, device: torch.device
) -> Callable[[slice], Tensor]:
    """Scores of all images by the codes that they have, with the bits of `DistinctCodes.scores`.

    Args:
        tables: [Q, M, K] of all queries.
        offsets: as there.
        distinct: the codes.
        device: where.
    """
    entries, code_of = (torch.from_numpy(each).to(device) for each in (tables, distinct.inverse))
    columns = distinct.codes.to(device).T.long().contiguous()
    norms = None if offsets is None else torch.from_numpy(offsets).to(device)

    def scored(rows: slice) -> Tensor:
        total = entries[rows, 0].index_select(1, columns[0])
        for level in range(1, len(columns)):
            total += entries[rows, level].index_select(1, columns[level])
        return (total if norms is None else 2 * total - norms).index_select(1, code_of)

    return scored


def embedding_scores(queries: Tensor, images: Tensor, score: Score, device: torch.device) -> Callable[[slice], Tensor]:
    """Scores of images by their embeddings, in their type.

    Products are of float64, whatever PyTorch may do to those of float32 on this GPU (TF32, another order of sums), and
    rounded, so that copies of an image are tied.

    Args:
        queries: [Q, D].
        images: [N, D] of the same type.
        score: "inner" or "l2".
        device: where.
    """
    asked, given = (each.to(device).double() for each in (queries, images))
    norms = given.square().sum(dim=1) if score == "l2" else None

    def scored(rows: slice) -> Tensor:
        products = asked[rows] @ given.T
        return (products if norms is None else 2 * products - norms).to(images.dtype)

    return scored
