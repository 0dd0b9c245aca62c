"""Where exhibits lie, and how they are written and read."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.exhibits import PARTS
from benchmarks.exhibits.exhibit import KINDS, SCHEMA_VERSION, Exhibit, Gallery
from benchmarks.records.record import Record
from dpq.errors import InputError, one_line
from dpq.files.atomic import write_atomically
from dpq.files.json import read_bounded, read_json
from dpq.files.places import matching
from dpq.files.schema import read_table
from dpq.protocols.archives import DEFAULT_BOUNDS

_REMEDY = "make that folder writable"
_AGAIN = "make it again with: python -m benchmarks exhibit RECORD --force"


def exhibit_path(output: Path, experiment: str, run_id: str, part: str) -> Path:
    """Where a part ("ties", "projection" or "gallery") of a run's exhibits lies."""
    return output / experiment / "exhibits" / f"{run_id}-{part}.json"


def write_exhibit(path: Path, exhibit: Exhibit) -> None:
    """Write an exhibit whole or not at all, a line a key; numbers that are not finite are refused."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for key, value in asdict(exhibit).items()
    )
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n", _REMEDY)


def read_exhibit(path: Path) -> Exhibit:
    """Read an exhibit.

    Raises:
        InputError: missing, damaged, of another schema, or not what figures can be made of.
    """
    try:
        table = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read exhibit {path}: {one_line(error)}; {_AGAIN}") from error
    if not isinstance(table, dict) or table.get("schema_version") != SCHEMA_VERSION or table.get("kind") not in PARTS:
        raise InputError(f"{path} is no exhibit of schema {SCHEMA_VERSION}; {_AGAIN}")
    try:
        return read_table(KINDS[table["kind"]], table, extra="ignore")
    except ValueError as error:
        raise InputError(f"{path} is no usable exhibit: {one_line(error)}; {_AGAIN}") from error


def exhibits_of(output: Path, experiment: str, part: str) -> list[Exhibit]:
    """All exhibits of one part of an experiment, by file name; none where there are none."""
    folder = exhibit_path(output, experiment, "", part).parent
    return [read_exhibit(path) for path in matching(folder, f"*-{part}.json")]


def check_run(exhibit: Exhibit, record: Record) -> None:
    """Refuse an exhibit whose code lengths are not those of its record.

    Raises:
        InputError: names both.
    """
    shown = exhibit.queries[0].lengths if isinstance(exhibit, Gallery) else exhibit.lengths
    found, wanted = [length.bits for length in shown], [length.bits for length in record.lengths]
    if found != wanted:
        raise InputError(f"the {exhibit.kind} of {record.id} is of {found} bits, the record of {wanted}; {_AGAIN}")


def sprite_path(path: Path) -> Path:
    """The image that belongs to the gallery at `path`."""
    return path.with_suffix(".png")


def write_sprite(path: Path, sprite: NDArray[np.uint8]) -> str:
    """Write pixels ([rows, columns, 3], RGB) as a PNG file and return its SHA-256 in hexadecimal."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(sprite).save(stream, format="png", optimize=True)
    write_atomically(path, stream.getvalue(), _REMEDY)
    return hashlib.sha256(stream.getvalue()).hexdigest()


def read_sprite(path: Path, exhibit: Gallery) -> NDArray[np.uint8]:
    """The pixels of a gallery's sprite, [rows, columns, 3] RGB.

    Args:
        path: of the gallery's JSON file, beside which the sprite lies.
        exhibit: the gallery.

    Raises:
        InputError: the sprite is missing, of another size, or not the one that the gallery was written with.
    """
    from PIL import Image

    file = sprite_path(path)
    if exhibit.sprite != file.name:
        raise InputError(f"{path.name} names the sprite {exhibit.sprite!r}; its own is {file.name}: {_AGAIN}")
    try:
        content = read_bounded(file, DEFAULT_BOUNDS.file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the sprite {file} of {path.name} ({one_line(error)}); {_AGAIN}") from error
    if hashlib.sha256(content).hexdigest() != exhibit.sprite_sha256:
        raise InputError(f"{file} is not the sprite that {path.name} was written with; {_AGAIN}")
    size = exhibit.columns * exhibit.side, -(-len(exhibit.images) // exhibit.columns) * exhibit.side
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size == size:
                return np.asarray(image.convert("RGB"))
            found = f"{image.width}x{image.height} pixels, its images take {size[0]}x{size[1]}"
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        found = one_line(error)
    raise InputError(f"{file} cannot be used ({found}); {_AGAIN}")
