"""Decodes image files that nobody vouches for, many in worker processes, or says in one line why one cannot be used."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from dpq.errors import InputError, ignored, one_line
from dpq.files.json import read_bounded
from dpq.protocols.archives import DEFAULT_BOUNDS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # Pillow knows more, some of which start other programs
MOST_PIXELS = 64_000_000
# From here on an image is decoded while no other worker decodes such a one: memory is bounded for any listing.
LARGE_PIXELS, LARGE_FILE = 2_000_000, 4 << 20

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# A forked worker shares its parent's memory; a started one would import everything anew. Elsewhere forks are unsafe.
_START = "fork" if sys.platform == "linux" else "spawn"
_MOST_WORKERS, _MOST_BATCH, _PREFETCH = 32, 8, 2
_IN_FLIGHT = 256 << 20  # bytes of decoded pixels between workers and parent
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_COPIES = 2  # a batch on its way exists as an array and as a message


class UnusableError(Exception):
    """A file is no usable image; the message is the reason, on one line."""


@dataclass(frozen=True)
class Decoded:
    """What became of one file."""

    # [3, side, side] uint8, RGB; zeros where there is a problem, empty when no side was asked for
    pixels: npt.NDArray[np.uint8]
    pixels_digest: str  # SHA-256 of `pixels`
    file_digest: str | None  # SHA-256 of the file's bytes; None where there is a problem
    problem: str | None  # why the file cannot be used, on one line; None where it can


def find_file(root: Path, name: str) -> os.stat_result:
    """Status of the regular file `name` under `root`; opens nothing.

    Symbolic links are followed: people link folders of images beside their lists.

    Args:
        root: the folder.
        name: relative path.

    Raises:
        UnusableError: it is missing, no regular file or too large.
    """
    try:
        status = (root / name).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UnusableError("missing") from None
    except (OSError, ValueError) as error:
        raise UnusableError(one_line(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError("no regular file")
    if status.st_size > DEFAULT_BOUNDS.file:
        raise UnusableError(f"has {status.st_size} bytes; no image has more than {DEFAULT_BOUNDS.file}")
    return status


def decode_file(root: Path, name: str, side: int | None, alone: AbstractContextManager[Any]) -> Decoded:
    """Decodes a file whole; every fault of the file becomes the result's `problem`.

    Args:
        root: the folder, without symbolic links.
        name: relative path.
        side: the image is resized to this height and width, whatever its own proportion; None keeps no pixels.
        alone: held while a large image is in memory; may be entered twice.
    """
    shape = (3, side, side) if side is not None else (0,)
    digest, problem = None, None
    try:
        with ExitStack() as held:
            if find_file(root, name).st_size > LARGE_FILE:
                held.enter_context(alone)
            content = read_bounded(root / name, DEFAULT_BOUNDS.file)
            pixels = _pixels(content, side, held, alone)
            digest = hashlib.sha256(content).hexdigest()
    except MemoryError:  # no fault of the file
        raise
    except UnusableError as error:
        pixels, problem = np.zeros(shape, np.uint8), str(error)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        pixels, problem = np.zeros(shape, np.uint8), f"unreadable: {one_line(error)}"
    return Decoded(pixels, hashlib.sha256(pixels.data).hexdigest(), digest, problem)


def _pixels(
    content: bytes, side: int | None, held: ExitStack, alone: AbstractContextManager[Any]
) -> npt.NDArray[np.uint8]:
    with ignored():  # about metadata, and about sizes that are refused below
        image = held.enter_context(opened(content))
        if image.width * image.height > LARGE_PIXELS:
            held.enter_context(alone)
        image = upright_rgb(image)
    return np.zeros(0, np.uint8) if side is None else square_pixels(image, side)


def opened(content: bytes) -> Image.Image:
    """The image that the bytes of a file hold; no pixel is decoded yet.

    Raises:
        UnusableError: none of `FORMATS`, or more than `MOST_PIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnusableError(f"no image of the formats {', '.join(FORMATS)}") from None
    if image.width * image.height > MOST_PIXELS:
        raise UnusableError(f"has {image.width}x{image.height} pixels, more than {MOST_PIXELS}")
    return image


def square_pixels(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """Pixels [3, side, side] of an RGB image, resized to a square whatever its own proportion."""
    resized = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def upright_rgb(image: Image.Image, of: Image.Image | None = None) -> Image.Image:
    """The image upright, in 8-bit RGB, whatever its mode; transparency is ignored.

    Args:
        image: may be turned in place.
        of: the image as it was opened, where the given one is a copy, which does not know its file any more.

    Raises:
        UnusableError: nobody can say which of its numbers is white.
    """
    image.load()
    bits, inverted = _grey_scale(image if of is None else of)
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # the pixels are sound, only the EXIF data are damaged
        pass
    if image.mode.startswith("I"):  # deep grey: keep the high byte, where Pillow's conversion would clip
        grey = (np.clip(np.asarray(image), 0, (1 << bits) - 1) >> (bits - 8)).astype(np.uint8)
        image = Image.fromarray(~grey if inverted else grey)
    if image.mode == "La":  # from which Pillow goes no other way
        image = image.convert("LA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_scale(image: Image.Image) -> tuple[int, bool]:
    """Bits of a deep grey image, and whether its zero is white; of other images nothing is known or needed."""
    # Versions of Pillow differ in whether a PNG of 16 bits is "I" or "I;16"; any other "I" or "F" has 32.
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise UnusableError(f"has 32-bit pixels (mode {image.mode}), and nobody says which is white; save 8 or 16 bits")
    tags = getattr(image, "tag_v2", {}) if image.mode.startswith("I") else {}  # of TIFF
    return tags.get(_BITS_PER_SAMPLE, (16,))[0], tags.get(_PHOTOMETRIC) == 0


def decode_files(root: Path, names: Sequence[str], side: int | None, workers: int | None) -> Iterator[Decoded]:
    """What became of every file, in the order of `names`.

    Args:
        root: the folder, without symbolic links.
        names: relative paths.
        side: height and width to resize to; None keeps no pixels.
        workers: processes, as for `in_workers`.

    Raises:
        InputError: a process was killed.
    """
    row_bytes = 3 * side**2 if side is not None else 1
    return in_workers(partial(_decode_file, root, side), names, workers, len(names), row_bytes)


def _decode_file(root: Path, side: int | None, name: str, alone: AbstractContextManager[Any]) -> Decoded:
    return decode_file(root, name, side, alone)


def in_workers(
    work: Callable[[_Item, AbstractContextManager[Any]], _Result],
    items: Iterable[_Item],
    workers: int | None,
    count: int,
    row_bytes: int,
    *,
    batch: int | None = None,
    weigh: Callable[[_Item], int] = lambda item: 0,
) -> Generator[_Result, None, None]:
    """What `work` makes of every item, in their order.

    Items are asked for as workers take them, a few batches ahead. Threads would not do: what Pillow and Python do with
    a small image outside of its decoder, which alone lets others go on, is most of the time.

    Args:
        work: gets an item, and what to hold while a large image is in memory; a worker imports it where processes are
            not forked. What it raises is raised here, when the items before it are done.
        items: what is sent to the workers.
        workers: processes; 0 works in this one, None takes one per core, at most 8. More than 32, or more than
            hold a decoded image each in bounded memory, are not started.
        count: number of items, or what it is at most.
        row_bytes: bytes of a result.
        batch: items that are sent at once, at most; None takes 8.
        weigh: bytes of an item.

    Raises:
        InputError: a process was killed.
    """
    processes, size = _plan(workers, count, row_bytes, batch)
    if not processes or multiprocessing.current_process().daemon:  # which may start none
        for item in items:
            yield work(item, nullcontext())
        return
    context = multiprocessing.get_context(_START)
    pool = ProcessPoolExecutor(processes, context, _begin, (work, context.RLock(), os.getpid()))
    pending: deque[tuple[int, Future[list[_Result]]]] = deque()
    sent = 0  # bytes of items in flight
    try:
        for weight, part in _batches(items, size, weigh):
            pending.append((weight, pool.submit(_work_off, part)))
            sent += weight
            while len(pending) == processes * _PREFETCH or (pending and sent > _IN_FLIGHT):
                weight, future = pending.popleft()
                yield from future.result()
                sent -= weight
        for _, future in pending:
            yield from future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "a process that decoded images was killed, probably for want of memory: take fewer workers", "workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(items: Iterable[_Item], size: int, weigh: Callable[[_Item], int]) -> Iterator[tuple[int, list[_Item]]]:
    """Consecutive items with the bytes they have; a batch of many bytes has fewer."""
    weight, batch = 0, list[_Item]()
    for item in items:
        weight += weigh(item)
        batch.append(item)
        if len(batch) == size or weight > LARGE_FILE:
            yield weight, batch
            weight, batch = 0, []
    if batch:
        yield weight, batch


_arguments: tuple[Callable[..., Any], AbstractContextManager[Any]]  # of a worker: its work, what large images hold


def _begin(work: Callable[..., Any], alone: AbstractContextManager[Any], parent: int) -> None:
    """In a new worker, which ends when its parent tells it to or is gone, and not by Ctrl-C."""
    global _arguments
    _arguments = work, alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work_off(items: Sequence[Any]) -> list[Any]:
    """In a worker: items come with the requests, as a list of all would be copied into every one."""
    work, alone = _arguments
    return [work(item, alone) for item in items]


def _plan(workers: int | None, items: int, row_bytes: int, batch: int | None = None) -> tuple[int, int]:
    """Number of workers and images per batch, such that all batches in flight stay within bounds."""
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        workers = min(cores, 8)
    rows = _IN_FLIGHT // (row_bytes * _COPIES * _PREFETCH)
    workers = max(0, min(workers, _MOST_WORKERS, rows, items))
    return workers, max(1, min(batch or _MOST_BATCH, rows // max(1, workers)))
