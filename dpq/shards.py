"""Parts of a large set of images, which several processes or machines encode, each one."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from dpq.errors import InputError


class Sliceable(Protocol):
    """A list, array or tensor."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Neighbours."""


Items = TypeVar("Items", bound=Sliceable)


def part_of(count: int, index: int, of: int) -> slice:
    """The rows of part `index` of `of`: neighbours among `count` rows, as many as in any other part or one more."""
    return slice(index * count // of, (index + 1) * count // of)


def shard(items: Items, index: int, count: int, *, batch_size: int = 64) -> Items:
    """One of `count` parts of a sequence: neighbours, cut only between batches, about as many in each.

    So the codes of the parts, one after the other, are those of the whole to the last bit: every image is in the batch
    that it would be in.

    >>> [list(shard(range(10), index, 3, batch_size=2)) for index in (0, 1, 2)]
    [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]

    Args:
        items: N images or paths, in the order that every process sees.
        index: of this part, from 0.
        count: of parts.
        batch_size: that they are encoded with.

    Returns:
        A slice of `items`; empty where there are fewer batches than parts.

    Raises:
        InputError: there is no such part, or no such batch.
    """
    if not 0 <= index < count:
        raise InputError(f"there is no part {index} of {count}; parts are counted from 0, and the last is count - 1")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}")
    batches = -(-len(items) // batch_size)
    mine = part_of(batches, index, count)
    neighbours: Items = items[mine.start * batch_size : mine.stop * batch_size]
    return neighbours
