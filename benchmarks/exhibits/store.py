"""Exhibit files: `<output>/<experiment>/exhibits/<run id>-<part>.json`, some with an image beside them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from dpq.errors import InputError

SCHEMA_VERSION = 1


def exhibit_path(output: Path, experiment: str, run_id: str, part: str) -> Path:
    """Where an exhibit of a run lies."""
    return output / experiment / "exhibits" / f"{run_id}-{part}.json"


def read_exhibit(path: Path) -> dict[str, Any]:
    """Read an exhibit.

    Raises:
        InputError: missing, no JSON, or of another schema.
    """
    try:
        exhibit = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read exhibit {path}: {error}") from error
    if not isinstance(exhibit, dict) or exhibit.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path} is no exhibit of schema {SCHEMA_VERSION}; remove it and make it again")
    return exhibit


def exhibits_of(output: Path, experiment: str, part: str) -> list[dict[str, Any]]:
    """All exhibits of one part of an experiment, by file name."""
    return [read_exhibit(path) for path in sorted((output / experiment / "exhibits").glob(f"*-{part}.json"))]


def read_sprite(exhibit_path: Path, exhibit: dict[str, Any]) -> np.ndarray:
    """The sprite of a gallery, uint8 [rows, columns, 3].

    Raises:
        InputError: missing, or not the file that the exhibit was made with.
    """
    from PIL import Image

    path = exhibit_path.parent / exhibit["sprite"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read sprite {path}: {error.strerror}; make the exhibit again") from error
    if hashlib.sha256(content).hexdigest() != exhibit["sprite_sha256"]:
        raise InputError(f"{path} is not the image that its exhibit was made with; make the exhibit again")
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))
