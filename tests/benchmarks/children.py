"""Commands in processes of their own, which tests may kill: forked from one that has imported everything, once."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import torch

from benchmarks import config
from benchmarks.__main__ import main
from benchmarks.interrupts import interruption

CONTEXT = multiprocessing.get_context("forkserver")
# What a run imports when it needs it; else every child would.
_LAZY = ["sklearn.cluster", "sklearn.datasets", "tabulate", "timm.scheduler", "torch._dynamo"]
CONTEXT.set_forkserver_preload(["__main__", __name__, *_LAZY])
PATIENCE = 120  # seconds; no more than a safety net
_connection = None


class Child:
    """A process that does `work(*arguments)` and exits with its result; it and its children can `say` things.

    What it prints is in `<folder>/out` and `<folder>/err`; experiments are those of `<folder>/configs`.
    """

    def __init__(self, folder, work, *arguments):
        self._err = folder / "err"
        self._err.write_text("")
        self._connection, its_end = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_begin, args=(its_end, folder, work, arguments))
        self._process.start()
        its_end.close()

    @property
    def pid(self):
        return self._process.pid

    @property
    def err(self):
        return self._err.read_text()

    def hear(self):
        """What it says next."""
        assert self._connection.poll(PATIENCE), f"silence; on stderr: {self.err}"
        return self._connection.recv()

    def end(self):
        """Its exit status, minus the signal that killed it; waits for it and all its children."""
        try:
            self._process.join(PATIENCE)
            assert self._process.exitcode is not None, f"does not end; on stderr: {self.err}"
            try:
                while True:
                    assert self._connection.poll(PATIENCE), "children do not end"
                    self._connection.recv()
            except (EOFError, ConnectionResetError):
                return self._process.exitcode
        finally:
            self._process.kill()


def _begin(connection, folder, work, arguments):
    global _connection
    _connection = connection
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where tests run in the background
    torch.set_num_threads(1)
    config.CONFIGS = Path(folder) / "configs"
    sys.exit(work(*arguments))


def say(word):
    """Called in the child."""
    _connection.send(word)


def hear():
    """What the test says; called in the child, which waits for it."""
    return _connection.recv()


def benchmarks(arguments, hook=None, *more):
    """`python -m benchmarks`, after `hook(*more)` has changed something for this process."""
    if hook is not None:
        hook(*more)
    interruption.install()
    return main(arguments)
