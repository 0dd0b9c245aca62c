"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from io import BufferedWriter
from pathlib import Path

from dpq.errors import InputError
from dpq.files.places import exists, is_folder, real

ELSEWHERE = "choose another folder"
_RANDOM = 8  # characters that a temporary file has more in its name


def write_atomically(path: Path, content: bytes | bytearray | memoryview | str, remedy: str = ELSEWHERE) -> None:
    """Write a temporary file beside `path`, flush it to the disk, then rename it into place.

    A symbolic link stays one: the file that it leads to is replaced.

    Args:
        path: the file; its folder is made.
        content: all of it.
        remedy: what the message of a failure says to do.

    Raises:
        InputError: the folder cannot be written, or there is something else than a file.
    """
    about = "output" if remedy == ELSEWHERE else None
    data = content.encode() if isinstance(content, str) else content
    try:
        place = _place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if place.exists() and not place.is_file():  # a folder, or a device that everybody would miss
            raise OSError(errno.EEXIST, "it is no regular file")
        stream = _beside(place)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); {remedy}", about) from error
    try:
        with stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(stream.name, place)
    except BaseException as error:
        Path(stream.name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path} ({error.strerror}); free some space or {remedy}", about) from error
        raise


def _place(path: Path) -> Path:
    """The file itself, where `path` is a link to it."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _beside(place: Path) -> BufferedWriter:
    """A new file, which everybody within the umask may read, as all results."""
    return place.with_name(f".{place.name}.{secrets.token_hex(_RANDOM // 2)}").open("xb")


def check_place(path: Path) -> None:
    """Refuse a place that cannot be written, before what takes long; nothing is made.

    Raises:
        InputError: the nearest folder above that there is takes no files, or is none.
    """
    above = next(folder for folder in real(path).parents if exists(folder))
    if not is_folder(above) or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write {path}, as {above} is no folder that takes files; choose another path", "output"
        )


def sweep(path: Path) -> None:
    """Delete what killed processes left of writing `path`. Only while no other process writes it."""
    place = _place(path)
    for left in place.parent.glob(f".{place.name}.{'?' * _RANDOM}"):
        left.unlink(missing_ok=True)
