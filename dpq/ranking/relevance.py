"""Which database images share a label with a query. Axes: Q queries, N database, L classes, W words of 64 labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpq.errors import InputError
from dpq.inputs.values import Numbers, label_flags, whole_number
from dpq.ranking.ties import Ints

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Relevance:
    """Labels of queries and database as bits: an image is relevant to a query if they share one.

    Bits in NumPy's arrays; after `on`, in tensors, and then so are the results.
    """

    of_query: Words  # [W, Q]
    of_item: Words  # [W, N]

    @classmethod
    def of(cls, query_labels: NDArray[np.bool_], database_labels: NDArray[np.bool_]) -> Relevance:
        """From labels [Q, L] and [N, L]."""
        return cls(_words(query_labels), _words(database_labels))

    def on(self, device: torch.device) -> Relevance:
        """The same on a device."""
        words: Any = (torch.from_numpy(each.view(np.int64)).to(device) for each in (self.of_query, self.of_item))
        return Relevance(*words)

    def alike(self, most: int) -> list[Ints]:
        """All queries in groups of up to `most` that have the same labels."""
        order = np.lexsort(self.of_query)
        ranked = self.of_query[:, order]
        ends = np.flatnonzero((ranked[:, 1:] != ranked[:, :-1]).any(axis=0)) + 1
        return [part[i : i + most] for part in np.split(order, ends) for i in range(0, len(part), most)]

    def to(self, queries: Ints | slice) -> NDArray[np.bool_]:
        """Relevance of every image to each of `queries` ([B]), [B, N]."""
        pairs = zip(self.of_query[:, queries], self.of_item, strict=True)
        return reduce(or_, ((of_query[:, None] & of_item) != 0 for of_query, of_item in pairs))


def checked_relevance(
    query_labels: Numbers, database_labels: Numbers, queries: int, items: int, block: int
) -> Relevance:
    """Relevance by labels [Q, L] and [N, L], if there is something to rank in blocks, and labels for all of it.

    Raises:
        InputError: there is not, or labels are no flags: class numbers, soft labels, -1 and +1, NaN.
    """
    if not queries or not items:
        raise InputError(f"nothing to rank: {queries} queries and {items} database images")
    whole_number("block", block)
    labels = [label_flags(query_labels, "query labels"), label_flags(database_labels, "database labels")]
    shapes = [list(each.shape) for each in labels]
    if shapes != [[queries, labels[0].shape[-1]], [items, labels[0].shape[-1]]]:
        raise InputError(f"labels must be [{queries}, L] and [{items}, L]; got {shapes[0]} and {shapes[1]}")
    return Relevance.of(*labels)


def _words(labels: NDArray[np.bool_]) -> Words:
    """Labels [n, L] as bits of 64-bit words, [W, n]."""
    flags = np.pad(labels, ((0, 0), (0, 64 - labels.shape[1] % 64)))
    return np.ascontiguousarray(np.packbits(np.ascontiguousarray(flags), axis=1).view(np.uint64).T)
