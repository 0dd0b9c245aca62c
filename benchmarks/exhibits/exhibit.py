"""What an exhibit holds, by the names of its JSON keys and in their order; other keys are let pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from annotated_types import Interval, MinLen

from benchmarks.exhibits import PARTS
from dpq.files.schema import Bits, Digest, Label, Scalar, Share, Size, Whole, refuse

SCHEMA_VERSION: Final = 1

Pixels = Annotated[int, Interval(ge=1, le=1 << 16)]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What every part says of itself."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: str
    run: Label  # identity of the record
    created: str = ""  # UTC; `created` and `environment` are filled in when it is written
    environment: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Orders:
    """MAP of a plain argsort at one code length, by order of the database."""

    bits: Bits
    orders: Mapping[str, Share]


@dataclass(frozen=True, kw_only=True)
class Ties(_Header):
    """What mAP a plain argsort gives where the same images stand in another order.

    Raises:
        ValueError: lengths have other orders.
    """

    kind: Literal["ties"] = "ties"
    shuffle_seed: Whole  # of the order that is shuffled
    lengths: Annotated[tuple[Orders, ...], MinLen(1)]

    def __post_init__(self) -> None:
        """Every length has the orders of the first."""
        orders = list(self.lengths[0].orders)
        for index, length in enumerate(self.lengths):
            if list(length.orders) != orders:
                refuse(f"lengths[{index}].orders", f"of {orders}", list(length.orders))


@dataclass(frozen=True)
class Points:
    """Where the images lie at one code length: [n, 2]."""

    bits: Bits
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Projection(_Header):
    """Reconstructed images in the plane.

    Raises:
        ValueError: a label without a class, or points that are more or fewer than labels.
    """

    kind: Literal["projection"] = "projection"
    method: str
    perplexity: Size  # of t-SNE
    seed: Whole  # of the sample and the projection
    sampled: Size  # images n
    classes: Annotated[tuple[str, ...], MinLen(1)]
    labels: Annotated[tuple[Whole, ...], MinLen(2)]  # [n] class of each point
    lengths: Annotated[tuple[Points, ...], MinLen(1)]

    def __post_init__(self) -> None:
        """Every point has a label, and every label a class."""
        _below(self.labels, len(self.classes), "labels")
        for index, length in enumerate(self.lengths):
            if len(length.points) != len(self.labels):
                refuse(f"lengths[{index}].points", f"{len(self.labels)} points", len(length.points))


@dataclass(frozen=True)
class Image:
    """An image of the sprite, with its classes."""

    labels: tuple[Whole, ...]


@dataclass(frozen=True)
class Nearest:
    """The images that codes bring nearest at one length, and how many are as near as the last of them."""

    bits: Bits
    nearest: Annotated[tuple[Whole, ...], MinLen(1)]
    tied: Size


@dataclass(frozen=True)
class Query:
    """An image of the sprite, and those nearest to it."""

    image: Whole
    lengths: Annotated[tuple[Nearest, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class Gallery(_Header):
    """The nearest images of a few queries.

    Raises:
        ValueError: what points to a class or an image finds none, or queries have other code lengths.
    """

    kind: Literal["gallery"] = "gallery"
    side: Pixels  # of an image in the sprite, in pixels
    columns: Pixels  # of the sprite, in images
    classes: Annotated[tuple[str, ...], MinLen(1)]
    images: Annotated[tuple[Image, ...], MinLen(1)]  # in the order of the sprite
    queries: Annotated[tuple[Query, ...], MinLen(1)]
    sprite: str = ""  # file name; `sprite` and `sprite_sha256` are filled in when it is written
    sprite_sha256: Digest = ""

    def __post_init__(self) -> None:
        """Classes and images exist, and all queries have the lengths of the first."""
        for index, image in enumerate(self.images):
            _below(image.labels, len(self.classes), f"images[{index}].labels")
        wanted = [length.bits for length in self.queries[0].lengths]
        for index, query in enumerate(self.queries):
            place = f"queries[{index}]"
            _below([query.image], len(self.images), f"{place}.image")
            if (bits := [length.bits for length in query.lengths]) != wanted:
                refuse(f"{place}.lengths", f"of {wanted} bits", bits)
            for at, length in enumerate(query.lengths):
                _below(length.nearest, len(self.images), f"{place}.lengths[{at}].nearest")


Exhibit = Ties | Projection | Gallery
KINDS: dict[str, type[Exhibit]] = dict(zip(PARTS, (Ties, Projection, Gallery), strict=True))


def _below(values: Iterable[int], count: int, place: str) -> None:
    for value in values:
        if value >= count:
            refuse(place, f"below {count}", value)
