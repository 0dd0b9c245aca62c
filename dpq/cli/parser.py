"""What the command lines share: a parser whose errors are one line, kinds of values, exit statuses."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dpq.cli.interrupts import interruption
from dpq.errors import InputError
from dpq.files.places import UNREACHABLE, unreachable


class Parser(argparse.ArgumentParser):
    """Errors are one line that ends in the way out, as everywhere else; options are written out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Exit with status 2 and one line."""
        raise InputError(f"{message}; see {self.prog} --help")


def _number(text: str, least: int, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


positive = partial(_number, least=1, expected="a positive number")
natural = partial(_number, least=0, expected="a number that is at least 0")


def one_of(what: str, choices: Sequence[str]) -> Callable[[str], str]:
    """Reads one of these words; `what` they are is said where it is none."""

    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"unknown {what} {text!r}; choose one of {', '.join(choices)}")
        return text

    return read


def status_of(command: Callable[[], int | None], options: Mapping[str, str]) -> int:
    """Run a command, and say in one line what ended it: its own status, 2 for a mistake, 130 when interrupted.

    Args:
        command: to run.
        options: what to add to the line of an error, by what it is about: the library knows settings, not options.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file may have a name that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it would say how it was loaded
    try:
        return _within_reach(command)
    except InputError as error:
        option = options.get(error.about or "", "").format(error.value)
        message = f"{error}; on the command line: {option}" if option else str(error)
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, which is not imported for this
            raise
        advice = "let fewer programs share it, or take smaller batches or smaller images"
        print(f"error: the memory of the GPU is full; {advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return interruption.say()
    except BrokenPipeError:  # whoever read the output has enough
        return 0


def _within_reach(command: Callable[[], int | None]) -> int:
    """The status of a command, to which a path that cannot be looked at is a mistake wherever it is found."""
    try:
        return command() or 0
    except OSError as error:
        if error.errno not in UNREACHABLE or error.filename is None:
            raise
        raise unreachable(error.filename, error) from error
