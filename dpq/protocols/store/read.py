"""Decoded images on disk, read block by block: what a split holds where its images do not fit into memory."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dpq.errors import InputError


@dataclass(frozen=True)
class Inspection:
    """What a full reading of the files found."""

    # SHA-256 of each file's bytes, in the order of the names; None where there is a problem
    digests: tuple[str | None, ...]
    problems: dict[str, str]  # names of missing and unreadable files, each with its reason on one line

    @classmethod
    def of(cls, names: Sequence[str], files: Iterable[Any]) -> Self:
        """From whatever tells the `file_digest` and `problem` of each named file."""
        found = [(name, file.file_digest, file.problem) for name, file in zip(names, files, strict=True)]
        problems = {name: problem for name, _, problem in found if problem is not None}
        return cls(tuple(digest for _, digest, _ in found), problems)


class NamelessFile:
    """A file in the temporary folder that goes with the process, whatever ends that.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self) -> None:
        self.content: Any = tempfile.TemporaryFile(prefix="dpq-")  # noqa: SIM115
        self._lock = threading.Lock()

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[Any]:
        """The file, for one thread at a time, as it has one position."""
        with self._lock:
            yield self.content

    def __str__(self) -> str:
        """What messages call it."""
        return "the temporary folder"


@dataclass(frozen=True)
class ImageStore:
    """All images of a listing, decoded; the file is opened for each reading and never changes."""

    path: Path | NamelessFile  # [N, 3, side, side] uint8, RGB, without a header
    names: tuple[str, ...]  # N relative paths; none where the images came from no listing
    side: int  # height and width in pixels
    inspection: Inspection  # of the files; a row with a problem holds zeros and cannot be selected

    def rows(self, rows: Tensor) -> StoredImages:
        """The images at `rows` ([n] int64), in that order; nothing is read.

        Raises:
            ValueError: there is no image at one of the rows.
            IndexError: a row is out of range.
        """
        positions = torch.arange(len(self.names))[rows.cpu()]
        for row in positions.tolist():
            if self.inspection.digests[row] is None:
                name = self.names[row]
                raise ValueError(f"row {row} has no image: {name!r} ({self.inspection.problems[name]})")
        return StoredImages(self, positions)


@dataclass(frozen=True, eq=False)
class StoredImages:
    """A selection of an `ImageStore`; indexing reads from the disk, at that moment."""

    store: ImageStore  # where the images are
    positions: Tensor  # [N] int64, rows of the store

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.positions)

    @property
    def shape(self) -> torch.Size:
        """[N, 3, side, side]."""
        return torch.Size((len(self), 3, self.store.side, self.store.side))

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels: uint8."""
        return torch.uint8

    @property
    def digest(self) -> str:
        """SHA-256 over the side and the files' digests: equal images in equal order have equal digests."""
        files = [self.store.inspection.digests[row] for row in self.positions.tolist()]
        return hashlib.sha256(repr((self.store.side, files)).encode()).hexdigest()

    def take(self, rows: Tensor) -> StoredImages:
        """The images at `rows` ([n] int64) of this selection, in that order; nothing is read."""
        return StoredImages(self.store, self.positions[rows.cpu()])

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Reads images.

        Args:
            rows: a slice, or [n] int64 positions on any device.

        Returns:
            [n, 3, side, side] uint8, on the CPU.

        Raises:
            InputError: the store is gone or has become shorter.
        """
        chosen = self.positions[rows.cpu() if isinstance(rows, Tensor) else rows].numpy()  # [n]
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        order = np.argsort(chosen, kind="stable")  # the disk is read forwards, neighbours in one piece
        breaks = np.flatnonzero((np.diff(chosen[order]) != 1) | (np.diff(order) != 1)) + 1
        row_bytes = 3 * self.store.side**2
        try:
            with self.store.path.open("rb") as file:
                for run in np.split(order, breaks) if len(order) else ():
                    part = out[run[0] : run[0] + len(run)]
                    file.seek(int(chosen[run[0]]) * row_bytes)
                    if file.readinto(part.data) != part.nbytes:
                        raise OSError("it has become shorter")
        except OSError as error:
            raise InputError(
                f"cannot read decoded images in {self.store.path} ({error.strerror or error}); run again"
            ) from error
        return torch.from_numpy(out)


@dataclass(frozen=True, eq=False)
class MappedImages:
    """A selection of images that lie in memory or in a map of a file; indexing copies them, at that moment.

    Processes that map the same file share its pages, whatever they select.
    """

    whole: Tensor  # [M, 3, H, W] uint8
    digests: Sequence[str]  # SHA-256 of the pixels of each of the M
    positions: Tensor  # [N] int64, rows of `whole`

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.positions)

    @property
    def shape(self) -> torch.Size:
        """[N, 3, H, W]."""
        return torch.Size((len(self), *self.whole.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels: uint8."""
        return self.whole.dtype

    @property
    def digest(self) -> str:
        """SHA-256 over the shape and the digests of the images: equal images in equal order have equal digests."""
        digests = [self.digests[row] for row in self.positions.tolist()]
        return hashlib.sha256(repr((tuple(self.shape), digests)).encode()).hexdigest()

    def take(self, rows: Tensor) -> MappedImages:
        """The images at `rows` ([n] int64) of this selection, in that order; nothing is copied."""
        return MappedImages(self.whole, self.digests, self.positions[rows.cpu()])

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """A copy, [n, 3, H, W] uint8 on the CPU, of the images at a slice or at [n] int64 positions on any device."""
        return self.whole.index_select(0, self.positions[rows.cpu() if isinstance(rows, Tensor) else rows])
