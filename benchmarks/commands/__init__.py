"""The commands of `python -m benchmarks`, a file each: what a command takes, and what it does.

These files import nothing slow, so that every command is there at once; an action imports what it works with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.setting.options import Option
from dpq.cli.parser import Parser

WHOLE = "files are whole, new or old; the same command makes all of them"


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str  # on the command line
    action: Callable[[argparse.Namespace], int | None]  # does it; an exit status, if another than 0
    options: Sequence[Option]  # that it takes
    advice: str  # how to go on after Ctrl-C
    help: str  # one line
    description: str | None = None  # in its own help, where a line is too little
    groups: Mapping[str, Sequence[Option]] = field(default_factory=dict)  # further options, by a title

    def add_to(self, subparsers: argparse._SubParsersAction[Parser]) -> None:
        """Have the command line take it."""
        parser = subparsers.add_parser(self.name, help=self.help, description=self.description)
        for option in self.options:
            option.add_to(parser)
        for title, options in self.groups.items():
            group = parser.add_argument_group(title)
            for option in options:
                option.add_to(group)
