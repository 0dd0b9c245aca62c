"""Runs beside each other, each in a process of its own: one queue, from which whoever is free takes what comes next.

Processes are started anew, as forks of one that uses threads or a GPU hang. A process opens the data itself, which are
decoded and checked already, and says what it would print to the one that started it, which alone speaks and draws.
"""

from __future__ import annotations

import argparse
import io
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.running.environment import keep_freed_memory, loaded_commit, runs_beside
from benchmarks.running.loading import load_data, reading_of
from benchmarks.running.locks import Busy, all_locked
from benchmarks.running.plan import Run, most_at_once, pieces
from benchmarks.setting.advice import OPTIONS
from benchmarks.setting.building import Ingredients, read_ingredients
from benchmarks.setting.experiment import Experiment
from dpq.cli.interrupts import interruption
from dpq.cli.parser import status_of
from dpq.errors import InputError

log = logging.getLogger(__name__)

# On a GPU. Processes take turns there (MPS aside), so that more of them only take memory: on an H200 five trainings
# made 55 steps a second together, one alone 75.
AT_ONCE = 2
# Of one run of batches of 64 at 224 pixels in bfloat16, measured on that card (Lite0, encoding included).
_MEMORY, _BATCH, _SIDE = 14e9, 64, 224
_GRACE = 0.7  # seconds that processes have to tidy up, of the two that Ctrl-C may take


def how_many(asked: int | None, device: torch.device, runs: Sequence[Run]) -> int:
    """How many of these runs are to go on at once.

    On a CPU that is what was asked for, however little is left to do: the cores are divided by it, and the bits of a
    result belong to a number of threads.

    Args:
        asked: by the caller; None takes what is of use here, and 1 where others share the machine already.
        device: of the runs.
        runs: that are to be done.
    """
    if device.type != "cuda" or asked == 1 or not runs:
        return asked or 1
    free = torch.cuda.mem_get_info(device)[0]
    fitting = max(1, int(free / max(memory_needed(run.experiment) for run in runs)))
    if asked is None:
        asked = 1 if runs_beside() else min(AT_ONCE, fitting)
    elif asked > fitting:
        log.warning("the memory of the GPU may be too small for %d runs at once; about %d fit", asked, fitting)
    return min(asked, most_at_once(runs))


def memory_needed(experiment: Experiment) -> float:
    """About how many bytes of a GPU one run takes; what a larger backbone needs more is not foreseen."""
    training = experiment.training
    pixels = (training.image_size / _SIDE) ** 2 * max(1.0, training.batch_size / _BATCH)
    return _MEMORY * pixels * (1 if training.precision == "bf16" else 2)


# Carries out what is left of a run, inside its lock; a function of a module, which another process can import.
Do = Callable[[Run, torch.device, bool], object]


class _Worker:
    """A process, as the one that started it knows it."""

    def __init__(self, count: int, beside: int, *told: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, its_end = context.Pipe()
        self.process = context.Process(target=_work, args=(its_end, *told))
        self.piece: deque[Run] = deque()
        self.waits = False  # for other processes that work on the piece
        self.run: Run | None = None
        threads = max(1, torch.get_num_threads() // count)
        others = (runs_beside() + 1) * (beside + 1) - 1
        with _inherited({"OMP_NUM_THREADS": str(threads), "DPQ_BESIDE": str(others)}):
            self.process.start()
        its_end.close()

    def give(self, run: Run | None) -> None:
        """What to do next; None if that was all."""
        self.run = run
        with suppress(OSError):  # it is gone, which is noticed when it is listened to
            self.connection.send(run and (run.with_ingredients(None), self.waits))

    def hear(self) -> tuple[str, str]:
        """What it says: a "line", "done", "refused", "busy" and with whom; "end" when it is gone."""
        try:
            kind, text = self.connection.recv()
            return kind, text
        except (EOFError, OSError):
            self.process.join()
            return "end", ""


def carry_out_beside(
    runs: Sequence[Run],
    count: int,
    device: torch.device,
    options: argparse.Namespace,
    do: Do,
    finished: Callable[[Run], None],
) -> None:
    """Carry out runs, several at once; those that share a training or stored embeddings go one after the other.

    What cannot be done, and a process that is killed, is said in a line, and the others go on.

    Args:
        runs: what is to be done.
        count: how many processes divide the cores; there are fewer where there are fewer pieces.
        device: that all of them use.
        options: of `run`.
        do: carries out one of them.
        finished: called after every run whose record is there.

    Raises:
        InputError: a run was not done; at the end.
        RuntimeError: by a fault of ours.
    """
    queue = deque((deque(run for run in runs if run.lock == lock), False) for lock in pieces(runs))
    left, begun, faults = set(runs), 0, 0
    workers: list[_Worker] = []
    bar = tqdm(total=len(runs), desc="runs", unit="run", leave=False, disable=None)
    try:
        beside = min(count, most_at_once(runs)) - 1
        for _ in range(beside + 1):
            workers.append(_Worker(count, beside, options, device, do))
        free = list(workers)
        while workers:
            for worker in workers:
                if worker.piece and worker.piece[0].stands_alone:  # what they share is there now
                    queue.extendleft((deque([run]), worker.waits) for run in worker.piece)
                    worker.piece = deque()
            for worker in list(free):
                if not worker.piece and queue:
                    worker.piece, worker.waits = queue.popleft()
                if worker.piece:
                    free.remove(worker)
                    worker.give(worker.piece.popleft())
                    begun += 1
                    log.info("run %d of %d: %s", begun, len(runs), worker.run and worker.run.identity)
            if not any(worker.piece for worker in workers):  # of which others could be given something yet
                for worker in free:
                    worker.give(None)
                free = []
            for worker in _which_speak(workers):
                kind, text = worker.hear()
                run = worker.run
                if kind == "end":
                    workers.remove(worker)
                    free = [one for one in free if one is not worker]
                    faults += run is not None and _say_ended(run, worker.process.exitcode or 0)
                    if worker.piece:
                        queue.append((worker.piece, worker.waits))
                elif kind == "line" or run is None:
                    log.info("%s: %s", run.identity if run else "a process", text)
                else:
                    free.append(worker)
                    if kind == "done":
                        left.discard(run)
                        finished(run)
                        bar.update()
                    elif kind == "busy":  # comes last, and is waited for then
                        log.info("%s works on %s; going on with what else there is", text, run.lock.stem)
                        begun -= 1
                        queue.append((deque([run, *worker.piece]), True))
                        worker.piece = deque()
    finally:
        bar.close()
        _end(workers)
    if left:
        said = f"{len(left)} of {len(runs)} runs were not done, as said above; the same command does them"
        raise RuntimeError(said) if faults else InputError(said)


def _which_speak(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until some of them have something to say."""
    speaking = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in speaking]


def _say_ended(run: Run, status: int) -> bool:
    """Say of a run that its process has ended; returns whether that is a fault of ours."""
    number = -status if status < 0 else max(0, status - 128)  # of the signal, which it may have answered
    how = f"was killed ({signal.Signals(number).name}), perhaps for want of memory" if number else "has failed"
    log.warning("%s: its process %s", run.identity, how)
    return not number


def _end(workers: Sequence[_Worker]) -> None:
    """End processes that were left in the middle; what they have not written is lost."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + _GRACE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        worker.process.kill()
        worker.process.join()


@contextmanager
def _inherited(variables: dict[str, str]) -> Iterator[None]:
    """Inside, a process that is started has these variables, and leaves Ctrl-C to this one."""
    before = {name: os.environ.get(name) for name in variables}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Lines(io.TextIOBase):
    """Passes on whole lines. It is no terminal, so that nobody draws progress bars on it."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say, self._begun = say, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._say("line", line)
        return len(text)


class _Data:
    """The images of runs, and what else they are made from, each opened once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._read: dict[tuple[int, str], Ingredients] = {}

    def of(self, experiment: Experiment) -> Ingredients:
        """The ingredients of an experiment on one split."""
        key = experiment.split_seed, experiment.label_vectors
        if key not in self._read:
            alike = next((read for (split, _), read in self._read.items() if split == key[0]), None)
            dataset = (
                alike.dataset if alike else load_data(experiment, self._options.data_root, reading_of(self._options))
            )
            self._read[key] = read_ingredients(experiment, dataset, next(iter(self._read.values()), None))
        return self._read[key]


def _work(connection: Connection, options: argparse.Namespace, device: torch.device, do: Do) -> None:
    """In a new process: do what comes, until nothing comes any more or the parent is gone."""
    saying = threading.Lock()

    def say(kind: str, text: str = "") -> None:
        with saying, suppress(OSError):
            connection.send((kind, text))

    def ends_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=ends_with_parent, daemon=True).start()
    lines: Any = _Lines(say)
    sys.stdout = sys.stderr = lines
    loaded_commit()  # of the sources that this process has
    keep_freed_memory()
    data = _Data(options)
    answer = "refused", ""

    def attempt(run: Run, waits: bool) -> None:
        nonlocal answer
        run = run.with_ingredients(data.of(run.experiment))
        try:
            with all_locked(run.locks, wait=waits):
                do(run, device, options.force)
        except Busy as holder:
            answer = "busy", str(holder)
        else:
            answer = "done", ""

    interruption.install()
    with suppress(KeyboardInterrupt), interruption.interruptible("the same command goes on from there"):
        while (order := connection.recv()) is not None:
            answer = "refused", ""
            if (status := status_of(partial(attempt, *order), OPTIONS)) not in (0, 2):
                sys.exit(status)
            say(*answer)
