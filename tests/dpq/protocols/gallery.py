"""Small image files of many kinds, shared by the tests of decoding and of the image store."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photo(number: int, height: int = 20, width: int = 30) -> Image.Image:
    """A smooth picture, so that JPEG keeps it nearly as it is, with different corners."""
    coarse = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, file_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )


def kinds() -> dict[str, bytes]:
    """Sound files of every format and colour mode."""
    image = photo(0)
    return {
        "rgb/a.jpg": encoded(image),
        "rgb/tall.jpg": encoded(photo(1, 41, 17)),
        "rgb/progressive.jpg": encoded(photo(2), progressive=True),
        "rgb/a.webp": encoded(photo(3), "WEBP"),
        "rgb/a.bmp": encoded(photo(4), "BMP"),
        "rgb/a.tif": encoded(photo(5), "TIFF"),
        "grey/a.jpg": encoded(image.convert("L")),
        "grey/alpha.png": encoded(image.convert("LA"), "PNG"),
        "grey/bits.png": encoded(image.convert("1"), "PNG"),
        "cmyk/a.jpg": encoded(image.convert("CMYK")),
        "palette/a.png": encoded(image.convert("P"), "PNG"),
        "palette/clear.png": encoded(image.convert("P"), "PNG", transparency=bytes(range(200))),
        "alpha/a.png": encoded(image.convert("RGBA"), "PNG"),
    }


def photos(count: int) -> dict[str, bytes]:
    """Many sound JPEG files."""
    return {f"{i % 3}/{i:03d}.jpg": encoded(photo(i, 12 + i % 5, 18)) for i in range(count)}


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def reference(content: bytes, side: int) -> np.ndarray:
    """[3, side, side] uint8 pixels of an upright 8-bit image, by the plainest way."""
    with warnings.catch_warnings(action="ignore"):
        image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
