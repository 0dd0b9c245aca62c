"""The files of one image store, finished or in the making, such that an interruption costs seconds of work."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import Timeout
from tqdm import tqdm

from dpq.errors import InputError
from dpq.files.atomic import write_atomically
from dpq.files.json import parse_json, read_text
from dpq.files.locks import file_lock, remedy
from dpq.protocols.store.decoding import Decoded

_COMMIT = 64 << 20  # bytes of pixels that an interruption may cost
_CHECKED = 64  # rows that are read again when work goes on; all are at the end
image_bar = partial(tqdm, unit="image", leave=False, disable=None)  # on a terminal alone
_HEX = 64  # characters of a SHA-256
_REMEDY = "set DPQ_CACHE to a folder that can be written"
_logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """What is known of a stored row."""

    pixels: str  # SHA-256 of its pixels
    file_digest: str | None  # SHA-256 of the image file; None where there is a problem
    problem: str | None  # why the file cannot be used; None where it can
    state: str  # of the file when it was decoded, where another one means another content; or its format and name


def remembered(cache: Path, what: str, make: Callable[[], str]) -> str:
    """A SHA-256 in hexadecimal that takes long to make, from the cache where that has it.

    Args:
        cache: folder; one that cannot be written costs nothing but time.
        what: stands for all that the digest depends on.
        make: gives the digest.
    """
    path = cache / f"{_sha256(what)}.digest"
    with suppress(OSError, ValueError):
        known = read_text(path, 2 * _HEX)
        if known[_HEX:] == _check(path, known[:_HEX]):
            return known[:_HEX]
    digest = make()
    with suppress(InputError):
        write_atomically(path, digest + _check(path, digest))
    return digest


def _check(path: Path, digest: str) -> str:
    return _sha256(f"{path.stem} {digest}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def journal_lines(records: Mapping[int, Record]) -> str:
    """A line for each row; a later line for the same row counts."""
    return "".join(json.dumps([row, *record]) + "\n" for row, record in records.items())


def read_journal(path: Path) -> dict[int, Record]:
    """The records of a journal by row; none where it is missing, and without its last line where that is torn."""
    records = {}
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError):
                row, *record = parse_json(line)
                records[_whole(row)] = _record(record)
    return records


def write_about(path: Path, records: Sequence[Record], changed: int) -> None:
    """Writes the records of all rows of a finished store; its pixels last changed at that time, in nanoseconds."""
    about = {"mtime_ns": changed, "sha256": _sha256(json.dumps(records)), "records": records}
    write_atomically(path, json.dumps(about), _REMEDY)


def read_about(path: Path, count: int | None) -> tuple[list[Record], int] | None:
    """The records, `count` of them if given, and when the pixels changed; None where the file is missing or damaged."""
    try:
        text = path.read_text("utf-8")
        about = parse_json(text)
        # The digest is that of the text as `write_about` wrote it, records last: so they are records, all of them.
        written = text.partition('"records": ')[2][:-1]
        if about["sha256"] != _sha256(written) or count not in (None, len(about["records"])):
            return None
        return list(map(Record._make, about["records"])), _whole(about["mtime_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(values: Any) -> Record:
    """A record from JSON; a TypeError if it is not one."""
    record = Record(*values)
    texts = (record.pixels, record.state, record.file_digest or "", record.problem or "")
    if not isinstance(values, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("no record of a row")
    return record


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


class StoreFiles:
    """`<key>.pixels` with `<key>.json`, which is written last: without it the store is not finished.

    In the making, the pixels are in `<key>.partial` and a line of `<key>.journal` follows each row that is safely
    on the disk.

    Args:
        cache: their folder.
        key: stands for the listing and the side.
        row_bytes: bytes of one image's pixels.
        count: number of images N; None for a store that is kept whole, which says it itself.
    """

    def __init__(self, cache: Path, key: str, row_bytes: int, count: int | None) -> None:
        self.pixels, self._about = cache / f"{key}.pixels", cache / f"{key}.json"
        self._partial, self._journal = cache / f"{key}.partial", cache / f"{key}.journal"
        self._lock, self._cache = cache / f"{key}.lock", cache
        self._count, self._row_bytes, self._expected = count or 0, row_bytes, count

    def load(self, *, tell: bool = True) -> list[Record] | None:
        """The records of the finished store; None where there is none, or, with a warning, where it is damaged.

        Pixels are read only if their file has not the time of change that was noted when it was finished.
        """
        about = read_about(self._about, self._expected)
        try:
            status = self.pixels.stat()
        except OSError:
            return None
        if about is not None and status.st_size == len(about[0]) * self._row_bytes:
            records, changed = about
            if changed == status.st_mtime_ns:
                return records
            if not self._damaged(self.pixels, dict(enumerate(records))):
                with suppress(InputError):  # a cache that is only read is as good
                    write_about(self._about, records, status.st_mtime_ns)
                return records
        if tell:
            _logger.warning("decoded images in %s are damaged or not finished; restoring them", self.pixels)
        return None

    def open(self, *, tell: bool = True) -> tuple[list[Record], npt.NDArray[np.uint8]] | None:
        """The records of the finished store, and its pixels [N, row_bytes] as a map of the file.

        Processes share its pages. Whoever writes to it has a copy of that page for himself; the file stays as it is.
        Only of a store that was kept whole: such a file is replaced and never written to, so the map stays valid.

        Returns:
            None where `load` finds none.
        """
        records = self.load(tell=tell)
        with suppress(OSError, ValueError):  # deleted or replaced since
            if records:
                return records, np.memmap(self.pixels, np.uint8, "c", shape=(len(records), self._row_bytes))
        return None

    def keep(self, records: Sequence[Record], pixels: bytes | bytearray | memoryview) -> None:
        """Store what is decoded already, all at once: the record of each row, and their pixels.

        Raises:
            InputError: the folder cannot be written.
        """
        write_atomically(self.pixels, pixels, _REMEDY)
        write_about(self._about, records, self.pixels.stat().st_mtime_ns)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other process makes this store."""
        with self._writing():
            self._cache.mkdir(parents=True, exist_ok=True)
            lock = file_lock(self._lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _logger.info("waiting for another process that decodes the same images (%s)", remedy(lock))
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def resume(self) -> dict[int, Record]:
        """Rows that need not be decoded (again); those with a problem are, for it may have been mended.

        A store that was finished becomes one in the making. Only inside `locked`.
        """
        about = read_about(self._about, self._expected)
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
            missing = self._count * self._row_bytes - self._partial.stat().st_size
            if missing > shutil.disk_usage(self._cache).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
                write_about(self._about, known, self.pixels.stat().st_mtime_ns)
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
        rows = image_bar(sorted(records), "checking")
        try:
            with path.open("rb") as file:
                for row in rows:
                    file.seek(row * self._row_bytes)
                    if hashlib.sha256(file.read(self._row_bytes)).hexdigest() != records[row].pixels:
                        damaged.append(row)
        except OSError:
            return sorted(records)
        return damaged

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
