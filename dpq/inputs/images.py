"""Images in whatever form a caller has them, as one stream of square uint8 pixels.

Every form takes the same way (upright, RGB, resized to a square by Pillow), so one image has one code, be it a file, a
Pillow image, an array or a tensor.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dpq.errors import InputError, one_line
from dpq.protocols.image_files import SUFFIXES, walk_images
from dpq.protocols.store.decoding import MOST_PIXELS, Decoded, decode_file, decode_files, square_pixels, upright_rgb

Pixels: TypeAlias = npt.NDArray[np.uint8]
OneImage: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor"
ImageInput: TypeAlias = "OneImage | Iterable[OneImage] | Dataset[Any]"


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files of a folder and its sub-folders, in the order in which they are read: sorted by path.

    What counts as an image is the rule of `dpq.protocols.image_files`.

    Raises:
        InputError: there is no such folder, no image in it, or a folder in it that cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no image folder {root}; correct the path")
    try:
        found = walk_images(root)
    except OSError as error:
        raise InputError(f"cannot read the folder {root}: {one_line(error)}; mend that, or give files") from error
    if not found:
        raise InputError(f"no image in {root}; files with the suffixes {', '.join(sorted(SUFFIXES))} are read")
    return [root / name for name in found]


def square_images(images: ImageInput, side: int, workers: int = 0) -> Iterator[Pixels]:
    """One image after the other, each read when its turn comes.

    Args:
        images: a folder; or an array [N, H, W, 3] or [N, H, W] (grey), a tensor [N, 3, H, W], [N, 1, H, W] or
            [N, H, W], all uint8; or an iterable or map-style dataset of files, Pillow images, arrays [H, W(, 3)]
            and tensors [(3, )H, W]. Of pairs of a dataset the first is the image. A single file or
            Pillow image stands for a list of one.
        side: height and width of the result.
        workers: processes that decode files of a folder or list; 0 decodes in this one.

    Yields:
        [3, side, side] uint8, RGB.

    Raises:
        InputError: what is given is no image; the message says which.
    """
    if isinstance(images, str | os.PathLike):
        path = Path(images)
        images = list_images(path) if path.is_dir() else [path]
    if isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, np.ndarray | Tensor):
        _check_stack(images)
    elif isinstance(images, Sequence) and workers and all(isinstance(one, str | os.PathLike) for one in images):
        names = [os.fspath(one) for one in images]
        for name, decoded in zip(names, decode_files(Path(), names, side, workers), strict=True):
            yield _usable(decoded, name)
        return
    for index, one in enumerate(_each(images)):
        yield _square(one, side, index)


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
    """Pixels of one image, the `index`-th."""
    if isinstance(image, str | os.PathLike):
        return _usable(decode_file(Path(), os.fspath(image), side, nullcontext()), os.fspath(image))
    if isinstance(image, np.ndarray | Tensor):
        image = _from_array(image, index)
    if not isinstance(image, Image.Image):
        raise InputError(f"image {index} is a {type(image).__name__}; {_FORMS}")
    try:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it has {image.width}x{image.height} pixels, more than {MOST_PIXELS}")
        return square_pixels(upright_rgb(image.copy()), side)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputError(f"image {index} cannot be used: {one_line(error)}; mend it or leave it out") from error


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


def _usable(decoded: Decoded, name: str) -> Pixels:
    if decoded.problem is not None:
        raise InputError(f"image {name} cannot be used: {decoded.problem}; mend it or leave it out")
    return decoded.pixels
