"""The commands of `python -m benchmarks`, a file each: what a command takes, and what it does.

These files import nothing slow, so that every command is there at once; an action imports what it works with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from dpq.command_line import Parser

WHOLE = "files are whole, new or old; the same command makes all of them"


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: on the command line.
        help: one line.
        advice: how to go on after Ctrl-C.
        arguments: adds what it takes.
        action: does it; an exit status, if another than 0.
        description: in its own help, where a line is too little.
    """

    name: str
    help: str
    advice: str
    arguments: Callable[[Parser], None]
    action: Callable[[argparse.Namespace], int | None]
    description: str | None = None
