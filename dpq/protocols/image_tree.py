"""Reads a folder or tar of `<split>/<class>/<file>` images into one array, and caches the decoded pixels."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import Image

from dpq.errors import InputError, one_line
from dpq.files.json import read_bounded
from dpq.files.places import is_folder, real
from dpq.protocols.archives import DEFAULT_BOUNDS, Bounds, tar_files
from dpq.protocols.base import Split, fingerprint
from dpq.protocols.image_files import some, walk_images
from dpq.protocols.store.decoding import FORMATS, in_workers, upright_rgb
from dpq.protocols.store.files import Record, StoreFiles, image_bar, remembered
from dpq.protocols.store.read import MappedImages

_BATCH = 64  # small images that go to a worker at once
_SMALL = 1 << 20  # bytes of files that are decoded sooner than workers have started
_SETTLED = 2 * 10**9  # nanoseconds after which a file that is written again has another time of change, on any disk
_logger = logging.getLogger(__name__)
_Kept = tuple[list[Record], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class ImageTree:
    """Decoded images, sorted by folder, then file stem, then suffix."""

    names: tuple[str, ...]  # N relative paths `<split>/<class>/<file>`
    formats: tuple[str, ...]  # the file formats that occur, in Pillow's names, sorted
    # [N, 3, H, W] uint8, RGB; of a cached tree a map that all processes share, and whoever writes has a copy of his own
    images: npt.NDArray[np.uint8]
    digests: tuple[str, ...]  # SHA-256 of each image's pixels

    def selectable(self) -> MappedImages:
        """The images as a split holds them, none of them copied."""
        return MappedImages(torch.from_numpy(self.images), self.digests, torch.arange(len(self.names)))


def read_image_tree(source: Path, size: tuple[int, int], cache: Path, bounds: Bounds = DEFAULT_BOUNDS) -> ImageTree:
    """Decodes every image of a folder or tar; other files, hidden ones and other depths are passed over.

    A tar is decoded in one pass, nothing is extracted, by all cores (at most 8). A second call takes the pixels from
    `cache`, and trusts them while size and time of change are those of the file that was written; it does not read a
    tar again whose size, times and inode are as they were.

    Args:
        source: a folder, or a tar (plain, gzip or xz) of any name.
        size: height and width in pixels that every image must have; checked before decoding.
        cache: folder for decoded pixels; one that cannot be written costs a warning.
        bounds: sizes beyond which the source is refused.

    Returns:
        The images, whatever order they were listed or packed in.

    Raises:
        InputError: the source is unreadable, unsafe, too large, empty, or one of its images is unusable; or it changes
            while it is read.
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
            weight = sum(one.st_size for one in status)
        else:
            state = _state(source)
            key = _tar_digest(source, state, cache)
            files = _unchanged(source, state, tar_files(source, bounds))
            weight = source.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {source}: {one_line(error)}; check the path and its permissions") from error
    version = repr((key, size, PIL.__version__))
    store = StoreFiles(cache, hashlib.sha256(version.encode()).hexdigest(), 3 * size[0] * size[1], None)
    workers = None if weight > _SMALL else 0
    records, pixels = store.open(tell=False) or _keep(store, lambda: _decode_all(source, files, size, bounds, workers))
    told = [record.state.split(" ", 1) for record in records]
    formats = sorted({file_format for file_format, _ in told})
    return ImageTree(
        tuple(name for _, name in told),
        tuple(formats),
        pixels.reshape(-1, 3, *size),
        tuple(record.pixels for record in records),
    )


def kept_fingerprint(cache: Path, *splits: Split) -> str:
    """`fingerprint`, from the cache where the images are of a tree and the same splits have been asked for before.

    It is kept under the digests of all images in their order and the labels, so it is that of these splits.
    """
    known = []
    for split in splits:
        if not isinstance(split.images, MappedImages):
            return fingerprint(*splits)
        labels = hashlib.sha256(split.labels.contiguous().numpy().data).hexdigest()
        known.append((split.images.digest, tuple(split.labels.shape), labels))
    return remembered(cache, repr(("splits", known)), lambda: fingerprint(*splits))


def _keep(store: StoreFiles, decode: Callable[[], _Kept]) -> _Kept:
    """What another process has decoded meanwhile, or else what `decode` gives, kept where that is possible."""
    with ExitStack() as held:
        try:
            held.enter_context(store.locked())
        except InputError as error:
            return _uncached(error, decode())
        if (kept := store.open()) is not None:
            return kept
        decoded = decode()
        try:
            store.keep(decoded[0], decoded[1].data)
        except InputError as error:
            return _uncached(error, decoded)
        return store.open() or decoded


def _uncached(error: InputError, decoded: _Kept) -> _Kept:
    reason = one_line(error.__cause__ or error)
    _logger.warning("decoded images are not cached (%s); set DPQ_CACHE to a folder that can be written", reason)
    return decoded


def _state(source: Path) -> tuple[int, ...]:
    """Of a file, where another one may mean another content."""
    status = source.stat()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _tar_digest(source: Path, state: tuple[int, ...], cache: Path) -> str:
    """SHA-256 of a file, which is read once for each state."""

    def read() -> str:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    # One that has just been written may be written again without another time of change: it cannot be known by that.
    settled = time.time_ns() - max(state[:2]) > _SETTLED
    return remembered(cache, repr(("tar", str(real(source)), state)), read) if settled else read()


def _unchanged(source: Path, state: tuple[int, ...], files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The files of a tar that is afterwards as it was before its digest was taken."""
    yield from files
    if _state(source) != state:
        raise InputError(f"{source} has changed while it was read; give it when it is complete")


def _folder_files(source: Path, names: Iterable[str], bounds: Bounds) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            content = read_bounded(source / name, bounds.file)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {name!r} in {source}: {one_line(error)}; replace it by an image") from error
        yield name, content


def _decode_all(
    source: Path, files: Iterable[tuple[str, bytes]], size: tuple[int, int], bounds: Bounds, workers: int | None
) -> _Kept:
    failures: list[InputError] = []  # of reading; images before it are looked at first

    def readable() -> Iterator[tuple[str, bytes]]:
        try:
            yield from files
        except InputError as error:
            failures.append(error)

    records, pixels = list[Record](), bytearray()
    decoding = in_workers(
        partial(_decode, source, size),
        readable(),
        workers,
        bounds.members,
        3 * size[0] * size[1],
        batch=_BATCH,
        weigh=lambda file: len(file[1]),
    )
    with closing(decoding):
        for record, of_image in image_bar(decoding, f"decoding {source.name}"):
            records.append(record)
            pixels += of_image
            if len(pixels) > bounds.total:
                raise InputError(
                    f"the images in {source} decode to more than {bounds.total} bytes; give the right images"
                )
    if failures:
        raise failures[0]
    if not records:
        raise InputError(f"{source} holds no images at <split>/<class>/<file>; check its layout")
    order = sorted(range(len(records)), key=lambda row: _place(records[row]))
    images = np.frombuffer(pixels, dtype=np.uint8).reshape(len(records), -1)[order]
    return [records[row] for row in order], images


def _place(record: Record) -> tuple[list[str], str, str]:
    """What images are sorted by."""
    name = record.state.partition(" ")[2]
    *folders, file = name.split("/")
    return folders, file.rpartition(".")[0], name


def _decode(
    source: Path, size: tuple[int, int], file: tuple[str, bytes], _: AbstractContextManager[Any]
) -> tuple[Record, bytes]:
    """The record and the [3, H, W] pixels of a file, given its name and content."""
    (name, content), (height, width) = file, size
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            found = f"{image.width}x{image.height}"
            if image.size == (width, height):
                pixels = np.asarray(upright_rgb(image)).transpose(2, 0, 1).tobytes()
                digests = hashlib.sha256(pixels).hexdigest(), hashlib.sha256(content).hexdigest()
                return Record(*digests, None, f"{image.format} {name}"), pixels
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputError(f"cannot read image {name!r} in {source}: {one_line(error)}; replace it") from error
    raise InputError(f"image {name!r} in {source} is {found} pixels; it must be {width}x{height}")
