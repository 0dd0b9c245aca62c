"""A picture of answers: every query at the left, the images found for it in a row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dpq.files.json import read_bounded
from dpq.protocols.archives import DEFAULT_BOUNDS
from dpq.protocols.store.decoding import opened, upright_rgb

TILE, GAP, CAPTION, BETWEEN = 112, 8, 18, 24  # pixels: a picture, between two, the text below, right of the query
_PAPER, _INK, _BLANK, _WRONG = "white", "#333333", "#dddddd", "#d55e00"


@dataclass(frozen=True)
class Picture:
    """A picture of the grid."""

    file: Path  # of the image; one that cannot be read is a grey tile
    caption: str = ""  # text below it, cut off where it is too long
    wrong: bool = False  # to be framed, with a cross


def picture_grid(rows: Sequence[tuple[Picture, Sequence[Picture]]]) -> bytes:
    """A PNG of queries with their answers, nearest first.

    Args:
        rows: each a query and the images found for it.
    """
    most = max((len(answers) for _, answers in rows), default=0)
    width, height = (most + 1) * (TILE + GAP) + GAP + BETWEEN, len(rows) * (TILE + CAPTION + GAP) + GAP
    grid = Image.new("RGB", (width, height), _PAPER)
    for row, (query, answers) in enumerate(rows):
        top = GAP + row * (TILE + CAPTION + GAP)
        _show(grid, query, GAP, top)
        line = GAP + TILE + (GAP + BETWEEN) // 2
        ImageDraw.Draw(grid).line([line, top, line, top + TILE], fill=_INK)
        for column, answer in enumerate(answers, start=1):
            _show(grid, answer, GAP + BETWEEN + column * (TILE + GAP), top)
    stream = io.BytesIO()
    grid.save(stream, "PNG")
    return stream.getvalue()


def _show(grid: Image.Image, picture: Picture, left: int, top: int) -> None:
    tile = _tile(picture.file)
    grid.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
    draw = ImageDraw.Draw(grid)
    draw.font = ImageFont.load_default(12)
    draw.text((left, top + TILE + 2), _cut(draw, picture.caption), fill=_INK)
    if picture.wrong:  # the cross is seen without colours too
        draw.rectangle([left - 2, top - 2, left + TILE + 1, top + TILE + 1], outline=_WRONG, width=4)
        right, arm = left + TILE - 6, 12
        draw.rectangle([right - arm - 3, top + 3, right + 3, top + arm + 9], fill=_PAPER)
        for start, end in ((right - arm, right), (right, right - arm)):
            draw.line([start, top + 6, end, top + 6 + arm], fill=_WRONG, width=3)


def _tile(file: Path) -> Image.Image:
    """The image in its own proportion, as large as a tile; one of few pixels shows them."""
    try:
        image = upright_rgb(opened(read_bounded(file, DEFAULT_BOUNDS.file)))
        scale = TILE / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        return image.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        return Image.new("RGB", (TILE, TILE), _BLANK)


def _cut(draw: ImageDraw.ImageDraw, text: str) -> str:
    """As much of a line of text as a tile has room for."""
    text = " ".join(text.split())[:100]
    while text and draw.textlength(text) > TILE:
        text = text.removesuffix("…")[:-1].rstrip() + "…" if len(text) > 1 else ""
    return text
