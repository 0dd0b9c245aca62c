"""Reads a folder or tar of `<split>/<class>/<file>` images into one array, and caches the decoded pixels."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image
from tqdm import tqdm

from dpq.errors import InputError, one_line
from dpq.files import write_atomically
from dpq.json_text import parse_json
from dpq.protocols.archives import DEFAULT_BOUNDS, Bounds, read_bounded, tar_files
from dpq.protocols.decoding import FORMATS
from dpq.protocols.image_files import walk_images

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageTree:
    """Decoded images, sorted by folder, then file stem, then suffix.

    Attributes:
        names: N relative paths `<split>/<class>/<file>`.
        formats: the file formats that occur, in Pillow's names, sorted.
        images: [N, 3, H, W] uint8, RGB.
    """

    names: tuple[str, ...]
    formats: tuple[str, ...]
    images: npt.NDArray[np.uint8]


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
        if source.is_dir():
            names = [name for name in walk_images(source) if name.count("/") == 2]
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
    tree = _load_cached(cache / f"{key}.npy", size)
    if tree is None:
        tree = _decode_all(source, files, size, bounds)
        _save_cached(cache / f"{key}.npy", tree)
    return tree


def _folder_files(source: Path, names: Iterable[str], bounds: Bounds) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            content = read_bounded(source / name, bounds)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {name!r} in {source}: {one_line(error)}; replace it by an image") from error
        yield name, content


def _decode_all(source: Path, files: Iterable[tuple[str, bytes]], size: tuple[int, int], bounds: Bounds) -> ImageTree:
    names, formats, pixels = [], set(), bytearray()
    for name, content in tqdm(files, desc=f"decoding {source.name}", unit=" images", disable=None, leave=False):
        file_format, decoded = _decode(source, name, content, size)
        names.append(name)
        formats.add(file_format)
        pixels += decoded
        if len(pixels) > bounds.total:
            raise InputError(f"the images in {source} decode to more than {bounds.total} bytes; give the right images")
    if not names:
        raise InputError(f"{source} holds no images at <split>/<class>/<file>; check its layout")
    paths = [PurePosixPath(name) for name in names]
    order = sorted(range(len(names)), key=lambda i: (paths[i].parent.parts, paths[i].stem, names[i]))
    images = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 3, *size)[order]  # [N, 3, H, W]
    return ImageTree(tuple(names[i] for i in order), tuple(sorted(formats)), images)


def _decode(source: Path, name: str, content: bytes, size: tuple[int, int]) -> tuple[str, bytes]:
    """The image's file format and its [3, H, W] pixels."""
    height, width = size
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.size == (width, height):
                return str(image.format), np.asarray(image.convert("RGB")).transpose(2, 0, 1).tobytes()
            found = f"{image.width}x{image.height}"
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputError(f"cannot read image {name!r} in {source}: {one_line(error)}; replace it") from error
    raise InputError(f"image {name!r} in {source} is {found} pixels; it must be {width}x{height}")


def _load_cached(path: Path, size: tuple[int, int]) -> ImageTree | None:
    """The cached tree, or None when there is none that is whole and made by this version of Pillow."""
    try:
        about = parse_json(path.with_suffix(".json").read_text("utf-8"))
        names, formats = tuple(about["names"]), tuple(about["formats"])
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # takes no memory, whatever its header claims
        if mapped.dtype != np.uint8 or mapped.shape != (len(names), 3, *size):
            return None
        images = np.array(mapped, order="C")
        whole = about["sha256"] == hashlib.sha256(images.data).hexdigest()
        plain = all(isinstance(text, str) for text in (*names, *formats))
        return ImageTree(names, formats, images) if plain and whole and about["pillow"] == PIL.__version__ else None
    except Exception:  # numpy raises nearly anything on damaged headers; the tree is made anew
        return None


def _save_cached(path: Path, tree: ImageTree) -> None:
    about = {
        "names": tree.names,
        "formats": tree.formats,
        "sha256": hashlib.sha256(tree.images.data).hexdigest(),
        "pillow": PIL.__version__,
    }
    array = io.BytesIO()
    np.save(array, tree.images)
    try:
        write_atomically(path, array.getvalue())
        write_atomically(path.with_suffix(".json"), json.dumps(about))
    except InputError as error:
        reason = one_line(error.__cause__ or error)
        _logger.warning("decoded images are not cached (%s); set DPQ_CACHE to a folder that can be written", reason)
