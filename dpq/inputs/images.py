"""Images in whatever form a caller has them, as one stream of square uint8 pixels.

Every form takes the same way (upright, RGB, resized to a square by Pillow), so one image has one code, be it a file, a
Pillow image, an array or a tensor.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dpq.errors import InputError, one_line
from dpq.files.places import is_folder
from dpq.protocols.image_files import SUFFIXES, checked_folder, some, walk_images
from dpq.protocols.store.decoding import (
    MOST_PIXELS,
    UnusableError,
    decode_file,
    decode_files,
    find_file,
    square_pixels,
    upright_rgb,
)

log = logging.getLogger(__name__)

Pixels: TypeAlias = npt.NDArray[np.uint8]
OneImage: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor"
ImageInput: TypeAlias = "OneImage | Iterable[OneImage] | Dataset[Any]"


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files of a folder and its sub-folders, in the order in which they are read: sorted by path.

    What counts as an image is the rule of `dpq.protocols.image_files`. Other files, and folders without images, are
    passed over with a warning that names them.

    Raises:
        InputError: there is no such folder, no image in it, or a folder or link in it that cannot be read or followed.
    """
    root = Path(folder)
    checked_folder(root)
    found = walk_images(root)
    if not found.images:
        raise InputError(f"no image in {root}; files with the suffixes {', '.join(sorted(SUFFIXES))} are read")
    found.tell()
    return [root / name for name in found.images]


@dataclass
class LeftOut:
    """Images that cannot be used, as they are met: so many of them are left out, one more is refused."""

    allowed: int | None = None  # how many; None where there is no choice
    # Name and reason of each, by its position among the images.
    found: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, found: Mapping[int, tuple[str, str]]) -> None:
        """Take note of some.

        Raises:
            InputError: there are more than may be left out.
        """
        self.found |= found
        if (count := len(self.found)) <= (self.allowed or 0):
            return
        (name, reason), *_ = self.found.values()
        message = f"image {name} cannot be used: {reason}; mend it or leave it out"
        if count > 1:
            told = some([f"{name} ({reason})" for name, reason in self.found.values()])
            message = f"{count} images cannot be used: {told}; mend them or leave them out"
        if self.allowed is None:
            raise InputError(message)
        raise InputError(f"{message}, or go on without them with allow_missing={count}", "allow_missing", count)

    def kept(self, count: int) -> list[int]:
        """Positions of those of `count` images that are not left out."""
        return [index for index in range(count) if index not in self.found]

    def tell(self) -> None:
        """Warn of each."""
        for name, reason in self.found.values():
            log.warning("left out, as it cannot be used: %s (%s)", name, reason)


def square_images(images: ImageInput, side: int, workers: int = 0, left_out: LeftOut | None = None) -> Iterator[Pixels]:
    """One image after the other, each read when its turn comes.

    Args:
        images: a folder; or an array [N, H, W, 3] or [N, H, W] (grey), a tensor [N, 3, H, W], [N, 1, H, W] or
            [N, H, W], all uint8; or an iterable or map-style dataset of files, Pillow images, arrays [H, W(, 3)]
            and tensors [(3, )H, W]. Of pairs of a dataset the first is the image. A single file or
            Pillow image stands for a list of one.
        side: height and width of the result.
        workers: processes that decode files of a folder or list; 0 decodes in this one.
        left_out: takes images that cannot be used, for which nothing is yielded; without it the first is refused.
            Files of a folder or list that are not there are found before any is read.

    Yields:
        [3, side, side] uint8, RGB.

    Raises:
        InputError: what is given is no image; the message says which.
    """
    if isinstance(images, str | os.PathLike):
        path = Path(images)
        images = list_images(path) if is_folder(path) else [path]
    left_out = left_out or LeftOut()
    if isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, np.ndarray | Tensor):
        _check_stack(images)
    elif isinstance(images, Sequence) and all(isinstance(one, str | os.PathLike) for one in images):
        yield from _square_files([os.fspath(one) for one in images], side, workers, left_out)
        return
    for index, one in enumerate(_each(images)):
        try:
            pixels = _square(one, side, index)
        except UnusableError as error:
            name = os.fspath(one) if isinstance(one, str | os.PathLike) else str(index)
            left_out.add({index: (name, str(error))})
        else:
            yield pixels


def _square_files(names: Sequence[str], side: int, workers: int, left_out: LeftOut) -> Iterator[Pixels]:
    missing: dict[int, tuple[str, str]] = {}
    for index, name in enumerate(names):
        try:
            find_file(Path(), name)
        except UnusableError as error:
            missing[index] = name, str(error)
    left_out.add(missing)
    here = (decode_file(Path(), name, side, nullcontext()) for name in names)
    for index, decoded in enumerate(decode_files(Path(), names, side, workers) if workers else here):
        if decoded.problem is None:
            yield decoded.pixels
        else:
            left_out.add({index: (names[index], decoded.problem)})


def batches(images: Iterable[Pixels], size: int) -> Iterator[Tensor]:
    """Tensors [B, 3, side, side] of `size` consecutive images; the last may have fewer."""
    source = iter(images)
    while batch := list(itertools.islice(source, size)):
        yield torch.from_numpy(np.stack(batch))


def _each(images: Any) -> Iterator[Any]:
    """The images of anything that holds several."""
    if isinstance(images, Dataset):
        yield from (pair[0] if isinstance(pair, tuple | list) else pair for pair in dataset_items(images))
    elif isinstance(images, Iterable):
        yield from images
    else:
        raise InputError(f"images cannot be read from a {type(images).__name__}; {_FORMS}")


def dataset_items(dataset: Dataset[Any]) -> Iterator[Any]:
    """What a dataset holds, in order; map-style ones need a length, since few end by themselves."""
    count: Any = getattr(dataset, "__len__", None)
    if count is None:
        yield from dataset  # type: ignore[misc]
        return
    for index in range(count()):
        yield dataset[index]


_FORMS = (
    "give a folder, files, Pillow images, uint8 arrays [N, H, W, 3], uint8 tensors [N, 3, H, W] or a dataset of such"
)


def _check_stack(images: npt.NDArray[Any] | Tensor) -> None:
    """Refuse an array or tensor that is no stack of images, before any is read."""
    array = isinstance(images, np.ndarray)
    shape = tuple(images.shape)
    _check_bytes(images, "images")
    channels = shape[-1] if array else shape[1] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or (len(shape) == 4 and channels not in (1, 3)):
        forms = "arrays of images are [N, H, W, 3]" if array else "tensors of images are [N, 3, H, W], [N, 1, H, W]"
        raise InputError(f"{forms} or [N, H, W]; got {list(shape)}")
    if len(shape) == 3 and shape[-1 if array else 0] == 3:
        raise InputError(f"{list(shape)} may be one image in colour or several in grey; add an axis, or give a list")


def _check_bytes(values: npt.NDArray[Any] | Tensor, name: str) -> None:
    if values.dtype not in (np.uint8, torch.uint8):
        raise InputError(
            f"{name} must be uint8, from 0 to 255; got {values.dtype}: the model itself scales and normalises them"
        )


def _square(image: Any, side: int, index: int) -> Pixels:
    """Pixels of one image, the `index`-th.

    Raises:
        InputError: it is no image.
        UnusableError: it cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        decoded = decode_file(Path(), os.fspath(image), side, nullcontext())
        if decoded.problem is not None:
            raise UnusableError(decoded.problem)
        return decoded.pixels
    if isinstance(image, np.ndarray | Tensor):
        image = _from_array(image, index)
    if not isinstance(image, Image.Image):
        raise InputError(f"image {index} is a {type(image).__name__}; {_FORMS}")
    try:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it has {image.width}x{image.height} pixels, more than {MOST_PIXELS}")
        return square_pixels(upright_rgb(image.copy(), of=image), side)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise UnusableError(one_line(error)) from error


def _from_array(image: npt.NDArray[Any] | Tensor, index: int) -> Image.Image:
    _check_bytes(image, f"image {index}")
    if isinstance(image, Tensor):
        pixels: Pixels = image.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
        expected = "[3, H, W], [1, H, W] or [H, W]"
    else:
        pixels, expected = image, "[H, W, 3], [H, W, 1] or [H, W]"
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not pixels.size or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise InputError(f"image {index} is {list(image.shape)}; expected {expected}")
    return Image.fromarray(np.ascontiguousarray(pixels))
