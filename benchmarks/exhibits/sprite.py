"""Many small images in one. Axes: n images, S the side of a tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

COLUMNS = 16
MOST = 64  # pixels; larger images become thumbnails of that side


def tiles_of(images: Tensor) -> NDArray[np.uint8]:
    """Images [n, 3, H, H] uint8 as tiles [n, S, S, 3]: as they are, or made smaller."""
    from PIL import Image

    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    if images.shape[-1] <= MOST:
        return np.asarray(pixels, dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((MOST, MOST), Image.Resampling.LANCZOS)) for one in pixels])


def join_tiles(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles [n, S, S, 3] row by row in one image of `COLUMNS` tiles a row; what is left of the last row is black."""
    n, side = tiles.shape[:2]
    rows = -(-n // COLUMNS)
    grid = np.zeros((rows * COLUMNS, side, side, 3), dtype=np.uint8)
    grid[:n] = tiles
    return grid.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2).reshape(rows * side, COLUMNS * side, 3)
