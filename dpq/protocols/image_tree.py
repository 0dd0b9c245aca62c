"""Reads a folder or tar of `<split>/<class>/<file>` images into one array, and caches the decoded pixels."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image
from tqdm import tqdm

from dpq.errors import InputError
from dpq.files import write_atomically

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # Pillow knows more, some of which start other programs
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_CHUNK = 1 << 20
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """What a source may unpack to before it is refused.

    Attributes:
        total: bytes of the unpacked archive, and of all decoded pixels together.
        file: bytes of one file.
    """

    total: int = 4 << 30
    file: int = 64 << 20


DEFAULT_BOUNDS = Bounds()


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
            listed = _list_folder(source)
            key = hashlib.sha256(repr(listed).encode(errors="surrogateescape")).hexdigest()
            files = _folder_files(source, [name for name, _, _ in listed], bounds)
        else:
            with source.open("rb") as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()
            files = _tar_files(source, bounds)
    except OSError as error:
        raise InputError(f"cannot read {source}: {_line(error)}; check the path and its permissions") from error
    tree = _load_cached(cache / f"{key}.npy", size)
    if tree is None:
        tree = _decode_all(source, files, size, bounds)
        _save_cached(cache / f"{key}.npy", tree)
    return tree


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return len(path.parts) == 3 and not hidden and path.suffix.lower() in _SUFFIXES


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# --- folders -------------------------------------------------------------------------------------------------


def _list_folder(source: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of change in nanoseconds of every image file, sorted by name."""
    listed = []
    for path in source.glob("*/*/*"):
        name = path.relative_to(source).as_posix()
        if _is_image(name) and path.is_file():
            status = path.stat()
            listed.append((name, status.st_size, status.st_mtime_ns))
    return sorted(listed)


def _folder_files(source: Path, names: Iterable[str], bounds: Bounds) -> Iterator[tuple[str, bytes]]:
    for name in names:
        try:
            with (source / name).open("rb") as file:
                content = file.read(bounds.file + 1)
        except OSError as error:
            raise InputError(f"cannot read {name!r} in {source}: {_line(error)}; check its permissions") from error
        if len(content) > bounds.file:
            raise InputError(f"{name!r} in {source} has more than {bounds.file} bytes; replace it by an image")
        yield name, content


# --- archives ------------------------------------------------------------------------------------------------


class _BoundedStream:
    """An unpacked archive, read forwards only; refuses to unpack beyond its bounds, whatever the headers claim."""

    def __init__(self, unpacked: IO[bytes], source: Path, bounds: Bounds) -> None:
        self._unpacked, self._source, self._bounds = unpacked, source, bounds
        self._position = 0
        self._last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass

    def read(self, size: int) -> bytes:
        if not 0 <= size <= max(self._bounds.file, _CHUNK):  # tarfile reads a header's extension in one piece
            raise InputError(f"{self._source} holds a header of {size} bytes; give a plain archive of images")
        self._last = self._unpacked.read(size)
        self._position += len(self._last)
        if self._position > self._bounds.total:
            raise InputError(f"{self._source} unpacks to more than {self._bounds.total} bytes; give the right archive")
        return self._last

    def finish(self) -> None:
        """Reads on to the end, where gzip and xz keep their check sums.

        Raises:
            tarfile.ReadError: the members do not end in the zeros that close a tar. tarfile itself takes a
                damaged header, or none, for the end.
        """
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("a member's header is damaged or the end is missing")
        while self.read(_CHUNK):
            if self._last.strip(b"\0"):
                raise tarfile.ReadError("data follow its end")


def _tar_files(source: Path, bounds: Bounds) -> Iterator[tuple[str, bytes]]:
    try:
        with _unpacked(source) as unpacked:
            stream: Any = _BoundedStream(unpacked, source, bounds)
            seen = set()
            with tarfile.TarFile(fileobj=stream) as archive:
                for member in archive:
                    name = _checked_name(source, member, bounds)
                    content = archive.extractfile(member)
                    if content is None or not _is_image(name):
                        continue
                    if name in seen:
                        raise InputError(f"{source} holds {name!r} twice; pack it again")
                    seen.add(name)
                    yield name, content.read()
            stream.finish()
    except InputError:
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        raise InputError(
            f"cannot read {source} as a tar: {_line(error)}; it is truncated, altered or no tar: get it again"
        ) from error


def _unpacked(source: Path) -> IO[bytes]:
    """The archive's bytes after decompression, which its first bytes tell, not its name."""
    with source.open("rb") as file:
        start = file.read(6)
    if start == b"\xfd7zXZ\0":
        return lzma.open(source)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(source)  # type: ignore[return-value]  # GzipFile is not declared as IO
    return source.open("rb")


def _checked_name(source: Path, member: tarfile.TarInfo, bounds: Bounds) -> str:
    """The member's relative path; refuses whatever a plain archive of images has no use for."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{source} holds {member.name!r}, a path that leaves the archive; refused: pack it again")
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise InputError(f"{source} holds {member.name!r}, a link, device or sparse file; refused: pack plain files")
    if not 0 <= member.size <= bounds.file:
        raise InputError(f"{source} holds {member.name!r} of {member.size} bytes; no image has more than {bounds.file}")
    return path.as_posix()


# --- pixels --------------------------------------------------------------------------------------------------


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
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.size == (width, height):
                return str(image.format), np.asarray(image.convert("RGB")).transpose(2, 0, 1).tobytes()
            found = f"{image.width}x{image.height}"
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputError(f"cannot read image {name!r} in {source}: {_line(error)}; replace it") from error
    raise InputError(f"image {name!r} in {source} is {found} pixels; it must be {width}x{height}")


# --- cache ---------------------------------------------------------------------------------------------------


def _load_cached(path: Path, size: tuple[int, int]) -> ImageTree | None:
    """The cached tree, or None when there is none that is whole and made by this version of Pillow."""
    try:
        about = json.loads(path.with_suffix(".json").read_text("utf-8"))
        images = np.ascontiguousarray(np.load(path, allow_pickle=False))
        tree = ImageTree(tuple(about["names"]), tuple(about["formats"]), images)
        shaped = images.dtype == np.uint8 and images.shape == (len(tree.names), 3, *size)
        whole = about["sha256"] == hashlib.sha256(images.data).hexdigest()
        return tree if shaped and whole and about["pillow"] == PIL.__version__ else None
    except (OSError, ValueError, EOFError, KeyError, TypeError, MemoryError):
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
        reason = _line(error.__cause__ or error)
        _logger.warning("decoded images are not cached (%s); set DPQ_CACHE to a folder that can be written", reason)
