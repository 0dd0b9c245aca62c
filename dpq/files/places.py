"""What is at a path: asked here, so that one that cannot be looked at is told in one line, never taken for nothing."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from pathlib import Path
from typing import TypeAlias

from dpq.errors import InputError, one_line

AnyPath: TypeAlias = "str | os.PathLike[str]"
# What the system answers for a path that nobody can go on with: not to be entered, too long, a link to itself.
UNREACHABLE = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP})


def status(path: AnyPath) -> os.stat_result | None:
    """What is at a path, links followed; None where nothing is.

    Raises:
        InputError: it may not be looked at, is too long, or is a link to itself.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise unreachable(path, error) from error


def exists(path: AnyPath) -> bool:
    """Whether there is anything at a path; raises as `status`."""
    return status(path) is not None


def is_file(path: AnyPath) -> bool:
    """Whether there is a regular file at a path; raises as `status`."""
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: AnyPath) -> bool:
    """Whether there is a folder at a path; raises as `status`."""
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def matching(folder: AnyPath, pattern: str) -> list[Path]:
    """What lies directly in a folder under names that match, sorted; nothing where there is no folder.

    Unlike `Path.glob`, which takes a folder that cannot be read for an empty one.

    Raises:
        InputError: it cannot be looked at, or not be read.
    """
    if not is_folder(folder):
        return []
    try:
        return [Path(folder, name) for name in sorted(fnmatch.filter(os.listdir(folder), pattern))]
    except OSError as error:
        raise unreachable(folder, error) from error


def real(path: AnyPath) -> Path:
    """The absolute path without symbolic links, as far as these lead; `Path.resolve` fails where they run in a loop."""
    return Path(os.path.realpath(path))


def unreachable(path: object, error: OSError | ValueError) -> InputError:
    """The exception that says that a path cannot be looked at, and why."""
    reason = getattr(error, "strerror", None) or one_line(error)
    return InputError(f"cannot look at {path}: {reason}; correct the path, or its permissions")
