"""The exceptions that stand for a mistake of the caller, not of the library; and warnings that nobody needs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class InputError(ValueError):
    """Bad arguments or unusable data.

    The message is one line that names the thing, its value and the way out. The command line prints it and
    exits with status 2; every other exception is an internal fault.

    Args:
        message: the line.
        about: stable name of the setting that the way out goes by, such as "weights", so that a program with a word of
            its own for it, such as an option, can add that; None where there is none.
        value: that the setting would need, as text.
    """

    def __init__(self, message: str, about: str | None = None, value: object = "") -> None:
        super().__init__(message)
        self.about, self.value = about, str(value)


class Diverged(InputError):
    """A training whose loss, weights or embeddings are not finite any more."""


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def ignored(kind: type[Warning] = Warning) -> Iterator[None]:
    """Let no warning of this kind be shown or raised meanwhile.

    Filters are of the whole process. `warnings.catch_warnings` puts all of them back as they were, so threads that are
    in it at once can leave filters of each other behind for good; this takes out what it has put in.
    """
    entry: Any = ("ignore", None, kind, None, 0)
    entered: Any = warnings.filters
    entered.insert(0, entry)
    try:
        yield
    finally:
        left: Any = warnings.filters  # another list while somebody else catches warnings
        for filters in [entered] if left is entered else [entered, left]:
            with suppress(ValueError):
                filters.remove(entry)
