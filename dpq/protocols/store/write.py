"""Decodes the images of a listing once, into one file on disk, and checks that all of them can be used."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL

from dpq.errors import InputError
from dpq.protocols.archives import leaves_root
from dpq.protocols.base import ReadOptions
from dpq.protocols.image_files import checked_folder, some
from dpq.protocols.store.decoding import UnusableError, decode_files, find_file
from dpq.protocols.store.files import Record, StoreFiles, image_bar
from dpq.protocols.store.read import ImageStore, Inspection

_logger = logging.getLogger(__name__)


def store_images(
    root: Path,
    names: Sequence[str],
    cache: Path,
    options: ReadOptions,
) -> ImageStore:
    """Decodes what is not stored yet; an interrupted call goes on where it stopped.

    A file that is there or gone since, or has another size or time of change, is decoded anew, alone. Another
    listing, side or version of Pillow gets a store of its own; old ones stay in the cache until they are deleted.

    Args:
        root: folder of the images.
        names: N distinct relative POSIX paths.
        cache: folder for the store, 3 * side**2 bytes per image.
        options: to which side, by how many workers, and how many missing and unreadable files to put up with.

    Returns:
        The store; rows of files that cannot be used are empty.

    Raises:
        InputError: a name leaves the root, too many files cannot be used, or the cache cannot be written.
    """
    root = _checked_root(root, names)
    states, missing = _survey(root, names)
    _refuse(missing, root, len(names), options.allow_missing)
    key = hashlib.sha256(repr((options.side, PIL.__version__, list(names))).encode(errors="surrogateescape"))
    files = StoreFiles(cache, key.hexdigest(), 3 * options.side**2, len(names))
    work = _Work(files, root, names, states, options)
    records = work.finished()
    if records is None:
        with files.locked():
            records = work.finished() or work.make()
    inspection = Inspection.of(names, records)
    _refuse(inspection.problems, root, len(names), options.allow_missing)
    return ImageStore(files.pixels, tuple(names), options.side, inspection)


def inspect_images(root: Path, names: Sequence[str], *, workers: int | None = None) -> Inspection:
    """Reads and decodes every file, and keeps no pixels.

    Args:
        root: folder of the images.
        names: N distinct relative POSIX paths.
        workers: processes that decode; 0 decodes in this one, None takes one per core, at most 8.

    Raises:
        InputError: there is no such folder, or a name leaves it.
    """
    root = _checked_root(root, names)
    return Inspection.of(names, image_bar(decode_files(root, names, None, workers), f"reading {root.name}", len(names)))


@dataclass(frozen=True)
class _Work:
    """One call of `store_images`, with its arguments."""

    files: StoreFiles
    root: Path
    names: Sequence[str]
    states: Sequence[str]
    options: ReadOptions

    def finished(self) -> list[Record] | None:
        """The finished store's records; None where it is to be made, or files that were unreadable no longer are."""
        records = self.files.load()
        if records is None or any(record.state != now for record, now in zip(records, self.states, strict=True)):
            return None
        failed = [name for name, record in zip(self.names, records, strict=True) if record.problem is not None]
        if len(failed) > self.options.allow_missing:
            again = decode_files(self.root, failed, None, self.options.workers)
            if any(image.problem is None for image in again):
                return None
        return records

    def make(self) -> list[Record]:
        """Decodes what is missing until the whole store has been read back as it was written."""
        records = self.files.resume()
        records = {row: record for row, record in records.items() if record.state == self.states[row]}
        for _ in range(2):
            rows = [row for row in range(len(self.names)) if row not in records]
            if rows:
                _logger.info("decoding %d of %d images into %s", len(rows), len(self.names), self.files.pixels)
            names, done = [self.names[row] for row in rows], len(records)
            images = zip(rows, decode_files(self.root, names, self.options.side, self.options.workers), strict=True)
            with image_bar(images, f"decoding {self.root.name}", len(self.names), initial=done) as bar:
                self.files.write(bar, self.states, records)
            known = [records[row] for row in range(len(self.names))]
            problems = Inspection.of(self.names, known).problems
            _refuse(problems, self.root, len(self.names), self.options.allow_missing)
            damaged = self.files.finish(records)
            if not damaged:
                return known
            _logger.warning("%d decoded images in the cache are damaged; decoding them again", len(damaged))
            for row in damaged:
                del records[row]
        raise InputError(
            f"{self.files.pixels.parent} does not keep what is written to it; check the disk, or set DPQ_CACHE"
        )


def _checked_root(root: Path, names: Sequence[str]) -> Path:
    """The folder without symbolic links, once it and the names are found to be sound."""
    root = checked_folder(root)
    if not names:
        raise InputError(f"no images are listed for {root}; give the complete list")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(f"{name!r} is listed {times} times for {root}; name every image once")
    for name in names:
        if leaves_root(name):
            raise InputError(f"{name!r} is a path that leaves {root}; refused: correct the list")
    return root


def _survey(root: Path, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The state of every file as it is now, and the files that are missing or cannot be images, with the reason."""
    states, missing = [], {}
    for name in names:
        try:
            status = find_file(root, name)
            states.append(f"{status.st_size} {status.st_mtime_ns}")
        except UnusableError as error:
            missing[name] = str(error)
            states.append(missing[name])
    return states, missing


def _refuse(problems: Mapping[str, str], root: Path, total: int, allowed: int) -> None:
    if len(problems) <= allowed:
        return
    named = some([f"{name!r} ({reason})" for name, reason in problems.items()])
    raise InputError(
        f"{len(problems)} of {total} images in {root} cannot be used: {named}; complete the copy, "
        f"or go on without them with allow_missing={len(problems)}",
        "allow_missing",
        len(problems),
    )
