"""Ctrl-C: every command ends within two seconds, with one line that says how to go on.

The first signal raises `KeyboardInterrupt`, so that a command tidies up. Native code that does not return to Python, or
a wait for threads, cannot be left that way; then a watching thread ends the process. That costs no more than the work
since the last file, for files are written whole or not at all. This module imports nothing slow: it is there first.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NOT_BEGUN = "nothing was begun; give the same command again"
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_GRACE = 1.5  # seconds that a command has to tidy up
_TURN = 0.2  # seconds to wait for another thread that says the line


class Interruption:
    """How this process answers Ctrl-C, SIGTERM and SIGHUP; there is one, for signals belong to the process."""

    def __init__(self) -> None:
        self.status = 128 + signal.SIGINT  # exit status of an interrupted command
        self._advice = NOT_BEGUN
        self._raises = self._arrived = self._said = False
        self._forking = self._held = False
        self._saying = threading.Lock()

    def install(self) -> None:
        """Answer signals from here on; outside of `interruptible` they end the process at once.

        Signals that the caller had this process ignore, as `nohup` does, stay ignored.
        """
        if isinstance(sys.stdout, io.TextIOWrapper):  # what a hard end would lose
            sys.stdout.reconfigure(line_buffering=True)
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), name="interrupts", daemon=True).start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._fork, after_in_parent=self._forked, after_in_child=_leave_to_the_parent)

    @contextmanager
    def interruptible(self, advice: str) -> Iterator[None]:
        """Inside, a signal raises `KeyboardInterrupt`; `advice` says how to go on after it.

        Whatever is raised after a signal, by workers that it ended or by what is tidied up, is no fault to report.
        """
        self._advice, self._said, self._raises = advice, False, True
        try:
            yield
        except Exception:
            if self._arrived:
                raise KeyboardInterrupt from None
            raise
        finally:
            self._raises = False

    def say(self) -> int:
        """Say, once, how to go on; returns the exit status."""
        if self._saying.acquire(timeout=_TURN):
            if not self._said:
                with suppress(OSError):  # the terminal is closed
                    print(f"interrupted: {self._advice}", file=sys.stderr, flush=True)
                self._said = True
            self._saying.release()
        return self.status

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._forking:  # what is raised there is printed and lost
            self._held = True
            return
        if self._arrived:  # the end is near already
            return
        self._arrived, self.status = True, 128 + number
        if not self._raises:
            self._end()
        raise KeyboardInterrupt

    def _watch(self, reading: int) -> None:
        number = 0
        while number not in _SIGNALS:  # libraries handle others, which wake this thread too
            number = os.read(reading, 1)[0]
        self.status = 128 + number
        while self._forking:
            time.sleep(0.01)
        if self._held:
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        time.sleep(_GRACE)
        self._end()

    def _fork(self) -> None:
        self._forking = True

    def _forked(self) -> None:
        self._forking = False

    def _end(self) -> None:
        """End the process from any thread, whatever the main one is doing: it may hold the lock of `sys.stderr`."""
        if self._saying.acquire(timeout=_TURN) and not self._said:
            start = "\n" if os.isatty(2) else ""  # below a progress bar
            with suppress(OSError):
                os.write(2, f"{start}interrupted: {self._advice}\n".encode())
        processes = sys.modules.get("multiprocessing")
        with suppress(Exception):  # being imported just now
            for child in processes.active_children() if processes else ():
                child.kill()
        os._exit(self.status)


def _leave_to_the_parent() -> None:
    """A forked worker ends when its parent ends it, and does not wake the parent's watching thread."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)


interruption = Interruption()
