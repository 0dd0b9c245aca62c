"""Two processes on one output folder: what they would both train or store, one of them does."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import Timeout

from dpq.errors import InputError
from dpq.files.locks import file_lock, remedy

log = logging.getLogger(__name__)

T = TypeVar("T")


def lock_path(folder: Path, name: str) -> Path:
    """A lock of the experiment whose results are in `folder`."""
    return folder / ".locks" / f"{name}.lock"


def record_lock(record: Path) -> Path:
    """The lock of a record and its raw codes, held while they are written."""
    return lock_path(record.parent.parent, f"{record.stem}.record")


class Busy(Exception):
    """Another process holds the lock; the text says which."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock `path`; it ends with the process, however that ends, where there is flock.

    Args:
        path: the lock file; its folder is made. It stays, for deleting it would let two processes in.
        wait: until another process lets go, and say for whom.

    Raises:
        Busy: another process holds it, and the caller does not wait.
        InputError: the folder cannot be written.
    """
    holder, lock = path.with_suffix(".holder"), None  # taking a lock empties its own file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = file_lock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = "another process"  # whose name is being written just now
            with suppress(OSError, ValueError):
                who = holder.read_text() or who
            if not wait:
                raise Busy(who) from None
            log.info("waiting for %s, which works on %s (%s)", who, path.stem, remedy(lock))
            lock.acquire()
        holder.write_text(f"process {os.getpid()} on {platform.node()}")
    except OSError as error:
        if lock is not None:
            lock.release()
        raise InputError(
            f"cannot write {path} ({error.strerror}); free some space or choose another --output"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def all_locked(paths: Sequence[Path], *, wait: bool = True) -> Iterator[None]:
    """Hold several locks, taken in their order, or none; as for `locked`."""
    with ExitStack() as held:
        for path in paths:
            held.enter_context(locked(path, wait=wait))
        yield


def in_turn(items: Sequence[T], locks_of: Callable[[T], Sequence[Path]], do: Callable[[T], None]) -> None:
    """Do each item inside its locks; those that another process works on come last, and are waited for."""
    busy = []
    for item in items:
        locks = locks_of(item)
        try:
            with all_locked(locks, wait=False):
                do(item)
        except Busy as holder:
            log.info("%s works on %s; going on with what else there is", holder, locks[0].stem)
            busy.append(item)
    for item in busy:
        with all_locked(locks_of(item)):
            do(item)
