"""The one exception that stands for a mistake of the caller, not of the library."""

from __future__ import annotations


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


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
