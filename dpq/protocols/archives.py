"""Reads tar archives that nobody vouches for: from memory, within bounds, plain files only."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dpq.errors import InputError, one_line
from dpq.protocols.image_files import is_image

_CHUNK = 1 << 20
_MOST_EXTRAS = 64  # keys of a member's extended header, which tarfile copies from member to member
_ODD = (RecursionError, OverflowError)  # of tarfile: header after header without a file, and sizes beyond any disk


@dataclass(frozen=True)
class Bounds:
    """What a source may unpack to before it is refused."""

    total: int = 4 << 30  # bytes of the unpacked archive, and of all decoded pixels together
    file: int = 64 << 20  # bytes of one file
    members: int = 200_000  # entries of an archive, folders and other files among them


DEFAULT_BOUNDS = Bounds()


def leaves_root(name: str) -> bool:
    """Whether a path is absolute or climbs, so that it may lead out of the folder it should stay in."""
    return name.startswith("/") or ".." in name.split("/")


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


def tar_files(source: Path, bounds: Bounds) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the images `<split>/<class>/<file>` of a tar, one after the other; nothing is extracted.

    Raises:
        InputError: truncated, altered, unsafe or larger than `bounds`; raised while iterating.
    """
    try:
        with _unpacked(source) as unpacked:
            stream: Any = _BoundedStream(unpacked, source, bounds)
            seen = set()
            with tarfile.TarFile(fileobj=stream) as archive:
                for number, member in enumerate(archive, 1):
                    if number > bounds.members:
                        raise InputError(f"{source} has more than {bounds.members} members; give the right archive")
                    name = _checked_name(source, member, bounds)
                    content = archive.extractfile(member)
                    if content is None or not is_image(name) or name.count("/") != 2:
                        continue
                    if name in seen:
                        raise InputError(f"{source} holds {name!r} twice; pack it again")
                    seen.add(name)
                    yield name, content.read()
            stream.finish()
    except InputError:
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, *_ODD) as error:
        raise InputError(
            f"cannot read {source} as a tar: {one_line(error)}; it is truncated, altered or no tar: get it again"
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
    if leaves_root(member.name):
        raise InputError(f"{source} holds {member.name!r}, a path that leaves the archive; refused: pack it again")
    if len(member.pax_headers) > _MOST_EXTRAS:
        raise InputError(f"{source} holds {member.name!r} with {len(member.pax_headers)} extra headers; pack it again")
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise InputError(f"{source} holds {member.name!r}, a link, device or sparse file; refused: pack plain files")
    if not 0 <= member.size <= bounds.file:
        raise InputError(f"{source} holds {member.name!r} of {member.size} bytes; no image has more than {bounds.file}")
    return PurePosixPath(member.name).as_posix()
