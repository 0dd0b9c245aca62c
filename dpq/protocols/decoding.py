"""Decodes one image file that nobody vouches for, or says in one line why it cannot be used."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from dpq.errors import one_line
from dpq.protocols.archives import DEFAULT_BOUNDS, read_bounded

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # Pillow knows more, some of which start other programs
MOST_PIXELS = 64_000_000
# From here on an image is decoded while no other worker decodes such a one: memory is bounded for any listing.
LARGE_PIXELS, LARGE_FILE = 2_000_000, 4 << 20


class UnusableError(Exception):
    """A file is no usable image; the message is the reason, on one line."""


@dataclass(frozen=True)
class Decoded:
    """What became of one file.

    Attributes:
        pixels: [3, side, side] uint8, RGB; zeros where there is a problem, empty when no side was asked for.
        pixels_digest: SHA-256 of `pixels`.
        file_digest: SHA-256 of the file's bytes; None where there is a problem.
        problem: why the file cannot be used, on one line; None where it can.
    """

    pixels: npt.NDArray[np.uint8]
    pixels_digest: str
    file_digest: str | None
    problem: str | None


def find_file(root: Path, name: str) -> os.stat_result:
    """Status of the regular file `name` under `root`; opens nothing.

    Symbolic links are followed: people link folders of images beside their lists.

    Args:
        root: the folder.
        name: relative path.

    Raises:
        UnusableError: it is missing, no regular file or too large.
    """
    try:
        status = (root / name).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UnusableError("missing") from None
    except (OSError, ValueError) as error:
        raise UnusableError(one_line(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError("no regular file")
    if status.st_size > DEFAULT_BOUNDS.file:
        raise UnusableError(f"has {status.st_size} bytes; no image has more than {DEFAULT_BOUNDS.file}")
    return status


def decode_file(root: Path, name: str, side: int | None, alone: AbstractContextManager[Any]) -> Decoded:
    """Decodes a file whole; every fault of the file becomes the result's `problem`.

    Args:
        root: the folder, without symbolic links.
        name: relative path.
        side: the image is resized to this height and width, whatever its own proportion; None keeps no pixels.
        alone: held while a large image is in memory; may be entered twice.
    """
    shape = (3, side, side) if side is not None else (0,)
    digest, problem = None, None
    try:
        with ExitStack() as held:
            if find_file(root, name).st_size > LARGE_FILE:
                held.enter_context(alone)
            content = read_bounded(root / name, DEFAULT_BOUNDS)
            pixels = _pixels(content, side, held, alone)
            digest = hashlib.sha256(content).hexdigest()
    except MemoryError:  # no fault of the file
        raise
    except UnusableError as error:
        pixels, problem = np.zeros(shape, np.uint8), str(error)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        pixels, problem = np.zeros(shape, np.uint8), f"unreadable: {one_line(error)}"
    return Decoded(pixels, hashlib.sha256(pixels.data).hexdigest(), digest, problem)


def _pixels(
    content: bytes, side: int | None, held: ExitStack, alone: AbstractContextManager[Any]
) -> npt.NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, and about sizes that are refused below
        image = held.enter_context(opened(content))
        if image.width * image.height > LARGE_PIXELS:
            held.enter_context(alone)
        image = upright_rgb(image)
    return np.zeros(0, np.uint8) if side is None else square_pixels(image, side)


def opened(content: bytes) -> Image.Image:
    """The image that the bytes of a file hold; no pixel is decoded yet.

    Raises:
        UnusableError: none of `FORMATS`, or more than `MOST_PIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnusableError(f"no image of the formats {', '.join(FORMATS)}") from None
    if image.width * image.height > MOST_PIXELS:
        raise UnusableError(f"has {image.width}x{image.height} pixels, more than {MOST_PIXELS}")
    return image


def square_pixels(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """Pixels [3, side, side] of an RGB image, resized to a square whatever its own proportion."""
    resized = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image upright, in 8-bit RGB; the given one may be turned in place."""
    image.load()
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # the pixels are sound, only the EXIF data are damaged
        pass
    if image.mode.startswith("I"):  # 16-bit grey: keep the high byte, where Pillow's conversion would clip
        deep = np.asarray(image)
        image = Image.fromarray((np.clip(deep, 0, 0xFFFF) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
