"""Reads a folder or tar of `<split>/<class>/<file>` images into one array, and caches the decoded pixels."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from dpq.errors import InputError, one_line
from dpq.files.json import read_bounded
from dpq.files.places import is_folder
from dpq.protocols.archives import DEFAULT_BOUNDS, Bounds, tar_files
from dpq.protocols.image_files import some, walk_images
from dpq.protocols.store.decoding import FORMATS, upright_rgb
from dpq.protocols.store.files import Record, StoreFiles, image_bar

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageTree:
    """Decoded images, sorted by folder, then file stem, then suffix."""

    names: tuple[str, ...]  # N relative paths `<split>/<class>/<file>`
    formats: tuple[str, ...]  # the file formats that occur, in Pillow's names, sorted
    images: npt.NDArray[np.uint8]  # [N, 3, H, W] uint8, RGB


def read_image_tree(source: Path, size: tuple[int, int], cache: Path, bounds: Bounds = DEFAULT_BOUNDS) -> ImageTree:
    """Decodes every image of a folder or tar; other files, hidden ones and other depths are passed over.

    Tar members are decoded from memory, nothing is extracted. A second call takes the pixels from `cache`.

    Args:
        source: a folder, or a tar (plain, gzip or xz) of any name.
        size: height and width in pixels that every image must have; checked before decoding.
        cache: folder for decoded pixels; one that cannot be written costs a warning.
        bounds: sizes beyond which the source is refused.

    Returns:
        The images, whatever order they were listed or packed in.

    Raises:
        InputError: the source is unreadable, unsafe, too large, empty, or one of its images is unusable.
    """
    try:
        if is_folder(source):
            tree = walk_images(source)
            names = [name for name in tree.images if name.count("/") == 2]
            tree.tell()
            if elsewhere := [repr(name) for name in tree.images if name.count("/") != 2]:
                _logger.warning("images that are in no <split>/<class>/, passed over: %s", some(elsewhere))
            status = [(source / name).stat() for name in names]
            listed = sorted((name, one.st_size, one.st_mtime_ns) for name, one in zip(names, status, strict=True))
            key = hashlib.sha256(repr(listed).encode(errors="surrogateescape")).hexdigest()
            files = _folder_files(source, [name for name, _, _ in listed], bounds)
        else:
            with source.open("rb") as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()
            files = tar_files(source, bounds)
    except OSError as error:
        raise InputError(f"cannot read {source}: {one_line(error)}; check the path and its permissions") from error
    version = repr((key, size, PIL.__version__))
    store = StoreFiles(cache, hashlib.sha256(version.encode()).hexdigest(), 3 * size[0] * size[1], None)
    records = store.load()
    if records is not None:
        pixels = np.fromfile(store.pixels, np.uint8)
    else:
        records, pixels = _decode_all(source, files, size, bounds)
        try:
            store.keep(records, pixels.data)
        except InputError as error:
            reason = one_line(error.__cause__ or error)
            _logger.warning("decoded images are not cached (%s); set DPQ_CACHE to a folder that can be written", reason)
    told = [record.state.split(" ", 1) for record in records]
    formats = sorted({file_format for file_format, _ in told})
    return ImageTree(tuple(name for _, name in told), tuple(formats), pixels.reshape(-1, 3, *size))


def _folder_files(source: Path, names: Iterable[str], bounds: Bounds) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            content = read_bounded(source / name, bounds.file)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {name!r} in {source}: {one_line(error)}; replace it by an image") from error
        yield name, content


def _decode_all(
    source: Path, files: Iterable[tuple[str, bytes]], size: tuple[int, int], bounds: Bounds
) -> tuple[list[Record], npt.NDArray[np.uint8]]:
    names, records, pixels = [], [], bytearray()
    for name, content in image_bar(files, f"decoding {source.name}"):
        file_format, decoded = _decode(source, name, content, size)
        names.append(PurePosixPath(name))
        of_pixels, of_file = hashlib.sha256(decoded).hexdigest(), hashlib.sha256(content).hexdigest()
        records.append(Record(of_pixels, of_file, None, f"{file_format} {name}"))
        pixels += decoded
        if len(pixels) > bounds.total:
            raise InputError(f"the images in {source} decode to more than {bounds.total} bytes; give the right images")
    if not names:
        raise InputError(f"{source} holds no images at <split>/<class>/<file>; check its layout")
    order = sorted(range(len(names)), key=lambda i: (names[i].parent.parts, names[i].stem, str(names[i])))
    images = np.frombuffer(pixels, dtype=np.uint8).reshape(len(names), -1)[order]
    return [records[i] for i in order], images


def _decode(source: Path, name: str, content: bytes, size: tuple[int, int]) -> tuple[str, bytes]:
    """The image's file format and its [3, H, W] pixels."""
    height, width = size
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.size == (width, height):
                return str(image.format), np.asarray(upright_rgb(image)).transpose(2, 0, 1).tobytes()
            found = f"{image.width}x{image.height}"
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputError(f"cannot read image {name!r} in {source}: {one_line(error)}; replace it") from error
    raise InputError(f"image {name!r} in {source} is {found} pixels; it must be {width}x{height}")
