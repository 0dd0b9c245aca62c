"""What an exhibit holds, by the names of its JSON keys and in their order; other keys are let pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from annotated_types import Interval, MinLen

from benchmarks.exhibits import PARTS
from dpq.schema import Bits, Digest, Label, Scalar, Share, Size, Whole, refuse

SCHEMA_VERSION: Final = 1

Pixels = Annotated[int, Interval(ge=1, le=1 << 16)]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What every part says of itself.

    Attributes:
        schema_version: of the file.
        kind: of the part.
        run: identity of the record.
        created: UTC; `created` and `environment` are filled in when it is written.
        environment: machine and versions.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: str
    run: Label
    created: str = ""
    environment: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Orders:
    """MAP of a plain argsort at one code length, by order of the database."""

    bits: Bits
    orders: Mapping[str, Share]


@dataclass(frozen=True, kw_only=True)
class Ties(_Header):
    """What mAP a plain argsort gives where the same images stand in another order.

    Attributes:
        shuffle_seed: of the order that is shuffled.
        lengths: by ascending bits.

    Raises:
        ValueError: lengths have other orders.
    """

    kind: Literal["ties"] = "ties"
    shuffle_seed: Whole
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

    Attributes:
        method: of the projection.
        perplexity: of t-SNE.
        seed: of the sample and the projection.
        sampled: images n.
        classes: names.
        labels: [n] class of each point.
        lengths: by ascending bits.

    Raises:
        ValueError: a label without a class, or points that are more or fewer than labels.
    """

    kind: Literal["projection"] = "projection"
    method: str
    perplexity: Size
    seed: Whole
    sampled: Size
    classes: Annotated[tuple[str, ...], MinLen(1)]
    labels: Annotated[tuple[Whole, ...], MinLen(2)]
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

    Attributes:
        side: of an image in the sprite, in pixels.
        columns: of the sprite, in images.
        classes: names.
        images: in the order of the sprite.
        queries: with their nearest images.
        sprite: file name; `sprite` and `sprite_sha256` are filled in when it is written.
        sprite_sha256: of that file.

    Raises:
        ValueError: what points to a class or an image finds none, or queries have other code lengths.
    """

    kind: Literal["gallery"] = "gallery"
    side: Pixels
    columns: Pixels
    classes: Annotated[tuple[str, ...], MinLen(1)]
    images: Annotated[tuple[Image, ...], MinLen(1)]
    queries: Annotated[tuple[Query, ...], MinLen(1)]
    sprite: str = ""
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
