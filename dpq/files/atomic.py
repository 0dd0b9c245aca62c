"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dpq.errors import InputError

ELSEWHERE = "choose another folder"
_RANDOM = 8  # characters that `tempfile` adds to a name


def write_atomically(path: Path, content: bytes | bytearray | memoryview | str, remedy: str = ELSEWHERE) -> None:
    """Write a temporary file beside `path`, flush it to the disk, then rename it into place.

    Args:
        path: the file; its folder is made.
        content: all of it.
        remedy: what the message of a failure says to do.

    Raises:
        InputError: the folder cannot be written.
    """
    about = "output" if remedy == ELSEWHERE else None
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); {remedy}", about) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; results are for everybody, within the umask.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path} ({error.strerror}); free some space or {remedy}", about) from error
        raise


def check_place(path: Path) -> None:
    """Refuse a place that cannot be written, before what takes long; nothing is made.

    Raises:
        InputError: the nearest folder above that there is takes no files, or is none.
    """
    above = next(folder for folder in path.resolve().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write {path}, as {above} is no folder that takes files; choose another path", "output"
        )


def sweep(path: Path) -> None:
    """Delete what killed processes left of writing `path`. Only while no other process writes it."""
    for left in path.parent.glob(f".{path.name}.{'?' * _RANDOM}"):
        left.unlink(missing_ok=True)
