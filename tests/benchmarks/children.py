"""Commands in processes of their own, which tests may kill: forked from one that has imported everything, once."""

import itertools
import multiprocessing
import os
import signal
import sys
from contextlib import suppress

import numpy as np
import torch

from benchmarks.__main__ import main
from benchmarks.records.store import read_record
from benchmarks.setting import experiment
from dpq.cli.interrupts import interruption
from dpq.files.checkpoint import load_checkpoint

CONTEXT = multiprocessing.get_context("forkserver")
# What a run imports when it needs it; else every child would.
_LAZY = ["sklearn.cluster", "sklearn.datasets", "tabulate", "timm.scheduler", "torch._dynamo"]
CONTEXT.set_forkserver_preload(["__main__", __name__, *_LAZY])
# Of a record; the environment names the commit, which may change while tests run.
NO_RESULTS = ("created", "seconds", "images_per_second", "peak_memory_mb", "environment")
PATIENCE = 600  # seconds; no more than a safety net
_numbers = itertools.count()
_connection = None


class Child:
    """A process that does `work(*arguments)` and exits with its result; it and its children can `say` things.

    Experiments are those of `<folder>/configs`.
    """

    def __init__(self, folder, work, *arguments):
        self._printed = folder / f"child-{next(_numbers)}"
        self._connection, its_end = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_begin, args=(its_end, folder, self._printed, work, arguments))
        self._process.start()
        its_end.close()

    @property
    def pid(self):
        return self._process.pid

    @property
    def err(self):
        """What it has printed on stderr."""
        return self._printed.with_suffix(".err").read_text()

    def hear(self):
        """What it says next."""
        assert self._connection.poll(PATIENCE), f"silence; on stderr: {self.err}"
        return self._connection.recv()

    def tell(self, word):
        """What it may wait for; nothing if it has ended."""
        with suppress(OSError):
            self._connection.send(word)

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


def _begin(connection, folder, printed, work, arguments):
    global _connection
    _connection = connection
    os.setpgid(0, 0)
    for stream, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(printed.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where tests run in the background
    torch.set_num_threads(1)
    experiment.CONFIGS = folder / "configs"
    sys.exit(work(*arguments))


def say(word):
    """Called in the child."""
    _connection.send(word)


def hear():
    """What the test says; called in the child, which waits for it."""
    return _connection.recv()


def command(arguments, hook=None, *more):
    """`python -m benchmarks`, after `hook(*more)` has changed something for this process."""
    if hook is not None:
        hook(*more)
    interruption.install()
    return main(arguments)


def results(output):
    """All that a run leaves, but for times and surroundings; nothing else may be there."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if path.is_dir() or ".locks" in path.parts:
            continue
        if path.suffix == ".json":
            found[name] = {key: value for key, value in read_record(path).raw.items() if key not in NO_RESULTS}
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: arrays[key].tobytes() for key in arrays.files if key != "run"}  # it has the time
        else:
            tensors, state = load_checkpoint(path)
            found[name] = {key: value.view(-1).view(torch.uint8).tolist() for key, value in tensors.items()}
            found[name]["log"] = state.get("log")
    return found
