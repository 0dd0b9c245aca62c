"""Locks between processes, on file systems with and without flock."""

from __future__ import annotations

import errno
import logging
import tempfile
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

log = logging.getLogger(__name__)

_MISSING = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def file_lock(path: Path) -> BaseFileLock:
    """A lock that is not taken yet; its folder is there.

    It ends with its process. Where the file system has no flock, the file itself is the lock, which outlives a process
    that is killed; that is said, once for each folder.
    """
    return FileLock(path) if _has_flock(path.parent.resolve()) else SoftFileLock(path)


def remedy(lock: BaseFileLock) -> str:
    """Which file is waited for, and what to do if nobody will let go of it."""
    if isinstance(lock, SoftFileLock):
        return f"{lock.lock_file}; there is no flock here: delete the file if that process is gone"
    return str(lock.lock_file)


@cache
def _has_flock(folder: Path) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows, whose own locks end with their process
        return True
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            log.warning(
                "%s is on a file system without flock: a lock there outlives a process that is killed, and is then to "
                "be deleted by hand",
                folder,
            )
            return False
    return True
