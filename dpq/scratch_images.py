"""Decoded training images in a file of their own, for as long as a training needs them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpq.errors import InputError
from dpq.protocols.base import Images

IN_MEMORY = 1 << 30  # bytes of decoded images; from here on they stay on the disk


class ScratchImages:
    """[N, 3, side, side] uint8 on disk; indexing reads, at that moment.

    Args:
        pixels: mapped from the file, which must outlive this object.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        """Number of images N."""
        return len(self._pixels)

    @property
    def shape(self) -> torch.Size:
        """[N, 3, side, side]."""
        return torch.Size(self._pixels.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels: uint8."""
        return torch.uint8

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """The images at a slice or at [n] int64 positions, in memory."""
        return torch.from_numpy(np.array(self._pixels[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]))


def keep_images(images: Iterable[npt.NDArray[np.uint8]], side: int, folder: Path, in_memory: int = IN_MEMORY) -> Images:
    """Every image of a stream, for reading in any order.

    Args:
        images: [3, side, side] each.
        side: of the images.
        folder: for a file of 3 * side**2 bytes an image; in use until the result is, where that stays on the disk.
        in_memory: bytes up to which the result is a tensor.

    Raises:
        InputError: no image, or no room for the file.
    """
    path = folder / "images"
    with path.open("wb", buffering=0) as file:  # so that closing it has nothing left to write
        for image in images:
            try:
                left = np.ascontiguousarray(image).data.cast("B")
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                raise InputError(
                    f"cannot keep decoded images in {folder} ({error.strerror}); set TMPDIR to a folder with more room"
                ) from error
    if not (size := path.stat().st_size):
        raise InputError("there are no images; give at least one")
    shape = (size // (3 * side**2), 3, side, side)
    if size > in_memory:
        return ScratchImages(np.memmap(path, np.uint8, "r", shape=shape))
    return torch.from_numpy(np.fromfile(path, np.uint8).reshape(shape))
