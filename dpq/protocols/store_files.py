"""The files of one image store, finished or in the making, such that an interruption costs seconds of work."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from dpq.errors import InputError
from dpq.files import write_atomically
from dpq.protocols.decoding import Decoded
from dpq.protocols.store_records import Record, journal_lines, read_about, read_journal, write_about

_COMMIT = 64 << 20  # bytes of pixels that an interruption may cost
_CHECKED = 64  # rows that are read again when work goes on; all are at the end
_REMEDY = "set DPQ_CACHE to a folder that can be written"
_logger = logging.getLogger(__name__)


class StoreFiles:
    """`<key>.pixels` with `<key>.json`, which is written last: without it the store is not finished.

    In the making, the pixels are in `<key>.partial` and a line of `<key>.journal` follows each row that is safely
    on the disk.

    Args:
        cache: their folder.
        key: stands for the listing and the side.
        count: number of images N.
        row_bytes: bytes of one image's pixels.
        progress: draw a progress bar on a terminal.
    """

    def __init__(self, cache: Path, key: str, count: int, row_bytes: int, *, progress: bool) -> None:
        self.pixels, self._about = cache / f"{key}.pixels", cache / f"{key}.json"
        self._partial, self._journal = cache / f"{key}.partial", cache / f"{key}.journal"
        self._lock, self._cache = cache / f"{key}.lock", cache
        self._count, self._row_bytes, self._progress = count, row_bytes, progress

    def load(self) -> list[Record] | None:
        """The records of the finished store; None where there is none, or, with a warning, where it is damaged."""
        about = read_about(self._about, self._count)
        try:
            status = self.pixels.stat()
        except OSError:
            return None
        if about is not None and status.st_size == self._count * self._row_bytes:
            records, changed = about
            if changed == status.st_mtime_ns:
                return records
            if not self._damaged(self.pixels, dict(enumerate(records))):
                with suppress(InputError):  # a cache that is only read is as good
                    write_about(self._about, records, status.st_mtime_ns, _REMEDY)
                return records
        _logger.warning("decoded images in %s are damaged or not finished; restoring them", self.pixels)
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other process makes this store."""
        with self._writing():
            self._cache.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _logger.info("waiting for another process that decodes the same images")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def resume(self) -> dict[int, Record]:
        """Rows that need not be decoded (again); those with a problem are, for it may have been mended.

        A store that was finished becomes one in the making. Only inside `locked`.
        """
        about = read_about(self._about, self._count)
        records = dict(enumerate(about[0])) if about is not None else read_journal(self._journal)
        pixels = self.pixels if self.pixels.exists() else self._partial
        stored = min(pixels.stat().st_size // self._row_bytes, self._count) if pixels.exists() else 0
        done = {row: record for row, record in records.items() if record.problem is None and 0 <= row < stored}
        for row in self._damaged(pixels, {row: done[row] for row in sorted(done)[-_CHECKED:]}):
            del done[row]
        with self._writing():
            write_atomically(self._journal, journal_lines(done), _REMEDY)
            self._about.unlink(missing_ok=True)
            if pixels != self._partial:
                os.replace(pixels, self._partial)
            self._partial.touch()
            self._check_space()
        return done

    def write(self, rows: Iterable[tuple[int, Decoded]], states: Sequence[str], records: dict[int, Record]) -> None:
        """Stores rows and adds their records, a journal line each once the pixels are safe. Only after `resume`.

        Args:
            rows: positions, and what became of the files.
            states: of all N files.
            records: added to.
        """
        with self._writing():
            pixels = self._partial.open("r+b", buffering=0)
        with pixels:
            pending: dict[int, Record] = {}
            for row, image in rows:
                with self._writing():
                    pixels.seek(row * self._row_bytes)
                    write_all(pixels, image.pixels.data.cast("B"))
                pending[row] = Record(image.pixels_digest, image.file_digest, image.problem, states[row])
                if len(pending) * self._row_bytes >= _COMMIT:
                    self._commit(pixels, pending)
                    records |= pending
                    pending = {}
            self._commit(pixels, pending)
            records |= pending

    def finish(self, records: Mapping[int, Record]) -> list[int]:
        """Reads all pixels again and, if they are what was decoded, moves the store to where readers look.

        Args:
            records: of all N rows.

        Returns:
            Damaged rows; none when the store is finished.
        """
        damaged = self._damaged(self._partial, records)
        if not damaged:
            with self._writing():
                os.truncate(self._partial, self._count * self._row_bytes)
                os.replace(self._partial, self.pixels)
                known = [records[row] for row in range(self._count)]
                write_about(self._about, known, self.pixels.stat().st_mtime_ns, _REMEDY)
                self._journal.unlink()
        return damaged

    def _commit(self, pixels: FileIO, records: Mapping[int, Record]) -> None:
        with self._writing():
            os.fsync(pixels.fileno())
            with self._journal.open("a", encoding="utf-8") as journal:
                journal.write(journal_lines(records))
                journal.flush()
                os.fsync(journal.fileno())

    def _damaged(self, path: Path, records: Mapping[int, Record]) -> list[int]:
        """Rows whose pixels are not those of their record."""
        damaged = []
        rows = tqdm(sorted(records), "checking", unit="image", leave=False, disable=None if self._progress else True)
        try:
            with path.open("rb") as file:
                for row in rows:
                    file.seek(row * self._row_bytes)
                    if hashlib.sha256(file.read(self._row_bytes)).hexdigest() != records[row].pixels:
                        damaged.append(row)
        except OSError:
            return sorted(records)
        return damaged

    def _check_space(self) -> None:
        missing = self._count * self._row_bytes - self._partial.stat().st_size
        if missing > shutil.disk_usage(self._cache).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            size = self._count * self._row_bytes / 1e9
            raise InputError(
                f"cannot store decoded images in {self._cache} ({error.strerror or error}); they need {size:.1f} GB "
                "in all: free some space, or set DPQ_CACHE to a folder that has it"
            ) from error


def write_all(file: FileIO, content: memoryview) -> None:
    """Write to an unbuffered file, which may take a part at a time."""
    while content:
        content = content[file.write(content) :]
