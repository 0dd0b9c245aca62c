"""What the command lines share: a parser whose errors are one line, and the exit status of what came of a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from dpq.errors import InputError
from dpq.interrupts import interruption


class Parser(argparse.ArgumentParser):
    """Errors are one line that ends in the way out, as everywhere else."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Exit with status 2 and one line."""
        raise InputError(f"{message}; see {self.prog} --help")


def positive(text: str) -> int:
    """An integer above zero."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def status_of(command: Callable[[], object], advice: Callable[[InputError], str] = lambda error: "") -> int:
    """Run a command, and say in one line what ended it: 0, 2 for a mistake of the caller, 130 when interrupted.

    Args:
        command: to run.
        advice: what to add to the line, as options of this command line are unknown to the library.
    """
    try:
        command()
    except InputError as error:
        print(f"error: {' '.join((str(error) + advice(error)).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return interruption.say()
    except BrokenPipeError:  # whoever read the output has enough
        return 0
    return 0
