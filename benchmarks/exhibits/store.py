"""Where exhibits lie, and how they are written and read."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpq.errors import InputError
from dpq.files import write_atomically

SCHEMA_VERSION = 1
PARTS = ("ties", "projection", "gallery")
_REMEDY = "make that folder writable"
_AGAIN = "make it again with: python -m benchmarks exhibit RECORD --force"


def exhibit_path(output: Path, experiment: str, run_id: str, part: str) -> Path:
    """Where a part ("ties", "projection" or "gallery") of a run's exhibits lies."""
    return output / experiment / "exhibits" / f"{run_id}-{part}.json"


def write_exhibit(path: Path, exhibit: Mapping[str, Any]) -> None:
    """Write an exhibit whole or not at all, a line a key; numbers that are not finite are refused."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for key, value in exhibit.items()
    )
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n", _REMEDY)


def read_exhibit(path: Path) -> dict[str, Any]:
    """Read an exhibit.

    Raises:
        InputError: missing, damaged, or of another schema.
    """
    try:
        exhibit: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read exhibit {path}: {error}; {_AGAIN}") from error
    if (
        not isinstance(exhibit, dict)
        or exhibit.get("schema_version") != SCHEMA_VERSION
        or exhibit.get("kind") not in PARTS
    ):
        raise InputError(f"{path} is no exhibit of schema {SCHEMA_VERSION}; {_AGAIN}")
    return exhibit


def exhibits_of(output: Path, experiment: str, part: str) -> list[dict[str, Any]]:
    """All exhibits of one part of an experiment, by file name; none where there are none."""
    folder = exhibit_path(output, experiment, "", part).parent
    return [read_exhibit(path) for path in sorted(folder.glob(f"*-{part}.json"))]


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


def read_sprite(path: Path, exhibit: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The pixels of a gallery's sprite, [rows, columns, 3] RGB.

    Args:
        path: of the gallery's JSON file, beside which the sprite lies.
        exhibit: the gallery.

    Raises:
        InputError: the sprite is missing, or is not the one that the gallery was written with.
    """
    from PIL import Image

    file = path.parent / exhibit["sprite"]
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the sprite {file} of {path.name} ({error.strerror}); {_AGAIN}") from error
    if hashlib.sha256(content).hexdigest() != exhibit["sprite_sha256"]:
        raise InputError(f"{file} is not the sprite that {path.name} was written with; {_AGAIN}")
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))
