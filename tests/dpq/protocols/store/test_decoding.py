from __future__ import annotations

import hashlib
import multiprocessing
import os
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageOps

from dpq.errors import InputError
from dpq.inputs.images import square_images
from dpq.protocols.archives import DEFAULT_BOUNDS
from dpq.protocols.store import decoding
from dpq.protocols.store.decoding import Decoded, decode_file, decode_files, in_workers
from tests.dpq.protocols.gallery import encoded, kinds, photo, photos, png_header, reference, write_files

SIDE = 16
GOOD = encoded(photo(0))


def decoded(root: Path, content: bytes, side: int | None = SIDE) -> Decoded:
    return decode_file(write_files(root, {"a/file": content}), "a/file", side, nullcontext())


@pytest.mark.parametrize("name", kinds())
def test_every_kind_is_what_the_reference_gives(tmp_path: Path, name: str) -> None:
    content = kinds()[name]
    image = decoded(tmp_path, content)
    assert image.problem is None
    assert np.array_equal(image.pixels, reference(content, SIDE))
    assert image.file_digest == hashlib.sha256(content).hexdigest()
    assert image.pixels_digest == hashlib.sha256(image.pixels.tobytes()).hexdigest()


def test_cmyk_has_the_colours_that_were_saved(tmp_path: Path) -> None:
    red = Image.new("RGB", (8, 8), (250, 20, 20))
    mean = decoded(tmp_path, encoded(red.convert("CMYK"), quality=95)).pixels.mean(axis=(1, 2))
    assert np.abs(mean - (250, 20, 20)).max() < 8  # an inversion would give cyan


def test_all_orientations_are_set_upright(tmp_path: Path) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    half_turn = np.rot90(upright, 2)
    stored = {  # what a camera held that way writes
        1: upright,
        2: upright[:, ::-1],
        3: half_turn,
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: half_turn.swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    for orientation, array in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = encoded(Image.fromarray(np.ascontiguousarray(array)), "PNG", exif=exif)
        assert np.array_equal(decoded(tmp_path, content).pixels, upright.transpose(2, 0, 1)), orientation


def test_damaged_exif_data_cost_nothing(tmp_path: Path) -> None:
    content = encoded(photo(0), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's would break into the progress bar
        assert np.array_equal(decoded(tmp_path, content).pixels, reference(GOOD, SIDE))


def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    deep = (np.arange(SIDE * SIDE, dtype=np.uint16) * 250).reshape(SIDE, SIDE)
    for file_format in ("PNG", "TIFF"):
        pixels = decoded(tmp_path, encoded(Image.fromarray(deep), file_format)).pixels
        assert np.array_equal(pixels, np.broadcast_to(deep >> 8, (3, SIDE, SIDE)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD[:-40], "truncated"),
        (GOOD[: len(GOOD) // 2], "unreadable"),
        (encoded(photo(0), "PNG")[:400], "truncated"),
        (b"", "no image of the formats JPEG"),
        (b"no image", "no image of the formats JPEG"),
        (encoded(photo(0), "PPM"), "no image of the formats JPEG"),  # Pillow would read it
        (png_header(10_000, 6_401), "has 10000x6401 pixels, more than 64000000"),
        (png_header(60_000, 60_000), "exceeds limit"),
    ],
)
@pytest.mark.parametrize("side", [SIDE, None])
def test_what_cannot_be_decoded_has_a_reason(tmp_path: Path, content: bytes, reason: str, side: int | None) -> None:
    image = decoded(tmp_path, content, side)
    assert image.problem is not None
    assert reason in image.problem
    assert "\n" not in image.problem
    assert "0x" not in image.problem.replace("10000x", "")  # no addresses: a reason is the same each time
    assert image.file_digest is None
    assert not image.pixels.any()
    assert image.pixels.shape == ((3, SIDE, SIDE) if side else (0,))


def test_what_is_no_file_of_the_folder_has_a_reason(tmp_path: Path) -> None:
    root = write_files(tmp_path / "root", {"in/good.jpg": GOOD})
    outside = write_files(tmp_path / "outside", {"good.jpg": GOOD})
    (root / "file.jpg").symlink_to(outside / "good.jpg")
    (root / "folder").symlink_to(outside)
    (root / "inside.jpg").symlink_to(root / "in" / "good.jpg")
    (root / "broken.jpg").symlink_to(root / "nowhere.jpg")
    os.mkfifo(root / "pipe.jpg")
    with (root / "large.jpg").open("wb") as file:
        file.truncate(DEFAULT_BOUNDS.file + 1)
    reasons = {
        "in/good.jpg": None,
        "inside.jpg": None,
        "file.jpg": None,
        "folder/good.jpg": None,
        "broken.jpg": "missing",
        "none.jpg": "missing",
        "in/good.jpg/none.jpg": "missing",
        "in": "no regular file",
        "pipe.jpg": "no regular file",
        "large.jpg": f"has {DEFAULT_BOUNDS.file + 1} bytes; no image has more than {DEFAULT_BOUNDS.file}",
    }
    assert {name: decode_file(root, name, SIDE, nullcontext()).problem for name in reasons} == reasons
    assert "null" in str(decode_file(root, "a\0.jpg", SIDE, nullcontext()).problem)


def test_large_images_are_decoded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Alone:
        entered = left = 0

        def __enter__(self) -> None:
            self.entered += 1

        def __exit__(self, *error: object) -> None:
            self.left += 1

    def entries(largest_file: int, most_pixels: int) -> int:
        monkeypatch.setattr(decoding, "LARGE_FILE", largest_file)
        monkeypatch.setattr(decoding, "LARGE_PIXELS", most_pixels)
        alone = Alone()
        assert decode_file(write_files(tmp_path, {"f": GOOD}), "f", SIDE, alone).problem is None
        assert alone.entered == alone.left
        return alone.entered

    assert entries(len(GOOD), 20 * 30) == 0
    assert entries(len(GOOD) - 1, 20 * 30) == 1
    assert entries(len(GOOD), 20 * 30 - 1) == 1
    assert entries(len(GOOD) - 1, 20 * 30 - 1) == 2


def test_running_out_of_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decoded(tmp_path, GOOD)


@pytest.mark.parametrize("side", [16, 224, 256, 1024, 4096])
@pytest.mark.parametrize("workers", [0, 1, 8, 32, 1000])
def test_images_in_flight_are_bounded(side: int, workers: int) -> None:
    row_bytes = 3 * side**2
    count, batch = decoding._plan(workers, 200_000, row_bytes)
    assert (count > 0) == (workers > 0)
    assert count <= min(workers, 32)
    assert batch >= 1
    assert count * batch * row_bytes * 4 <= 256 << 20


def test_no_more_workers_than_files() -> None:
    assert decoding._plan(8, 3, 1)[0] == 3


def decode_for_ever(root: Path, names: list[str], begun: Any) -> None:
    def stuck(*_: object) -> None:
        begun.put(os.getpid())
        time.sleep(3600)

    decoding.decode_file = stuck  # type: ignore[assignment]
    list(decode_files(root, names, 8, 2))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun = context.SimpleQueue()
    parent = context.Process(target=decode_for_ever, args=(tmp_path, list("abcdefghijklmnop"), begun))
    parent.start()
    workers = {begun.get(), begun.get()}
    assert len(workers) == 2 and all(Path(f"/proc/{worker}").exists() for worker in workers)
    parent.kill()
    parent.join()
    until = time.monotonic() + 60
    while any(running(worker) for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


def doubled(item: int, alone: Any) -> tuple[int, int]:
    if item < 0:
        raise InputError(f"{item} is below zero")
    return 2 * item, os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch", [None, 1, 3, 64])
def test_results_come_in_the_order_of_the_items(workers: int, batch: int | None) -> None:
    found = list(in_workers(doubled, iter(range(100)), workers, 1000, 1, batch=batch))
    assert [result for result, _ in found] == list(range(0, 200, 2))
    assert len({process for _, process in found} - {os.getpid()}) <= workers
    assert ({process for _, process in found} == {os.getpid()}) == (workers == 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_item_that_fails_is_told(workers: int) -> None:
    found = in_workers(doubled, [*range(50), -1, *range(50), -2], workers, 200, 1, batch=4)
    before = []
    with pytest.raises(InputError, match=r"^-1 is below zero$"):
        before.extend(result for result, _ in found)
    assert before == list(range(0, 2 * len(before), 2))
    assert list(found) == []


def test_items_in_flight_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_IN_FLIGHT", 1 << 20)
    monkeypatch.setattr(decoding, "LARGE_FILE", 1000)
    asked, had = 0, 0

    def items() -> Iterator[int]:
        nonlocal asked
        for item in range(40):
            asked += 1
            assert (asked - had) * 300_000 < (1 << 20) + 2 * 300_000  # those in flight, and the next
            yield item

    for _ in in_workers(doubled, items(), 4, 40, 1, weigh=lambda item: 300_000):
        had += 1
    assert had == 40


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_that_may_have_no_children_works_itself() -> None:
    def work(found: Any) -> None:
        found.put([process == os.getpid() for _, process in in_workers(doubled, [1, 2], 2, 2, 1)])

    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    process = context.Process(target=work, args=(found,), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert found.get() == [True, True]


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_broken_metadata_are_not_spoken_of_whatever_the_callers_filters(tmp_path: Path) -> None:
    def warn(image: Image.Image) -> None:
        warnings.warn("Corrupt EXIF data", stacklevel=1)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(ImageOps, "exif_transpose", lambda image, in_place: warn(image))
        before = list(warnings.filters)
        assert decoded(tmp_path, GOOD).problem is None
        assert warnings.filters == before


@pytest.mark.parametrize("workers", [0, 2])
def test_the_callers_random_numbers_are_left_alone(tmp_path: Path, workers: int) -> None:
    files = photos(4)
    before = torch.get_rng_state()
    assert len(list(decode_files(write_files(tmp_path, files), list(files), 8, workers))) == 4
    assert torch.equal(torch.get_rng_state(), before)


def ramp(mode: str) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    """An image of this mode, 16 x 16, and the [16, 16, 3] RGB that it shows."""
    grey = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    colours = photo(3, SIDE, SIDE)
    if mode.startswith("I;16"):
        order = ">" if mode == "I;16B" else "<"
        deep = (grey.astype(np.uint16) << 8 | 0x7F).astype(f"{order}u2")
        return Image.frombytes(mode, (SIDE, SIDE), deep.tobytes()), np.stack([grey] * 3, axis=-1)
    if mode in ("I", "F"):
        return Image.fromarray(grey).convert(mode), np.stack([grey] * 3, axis=-1)
    if mode in ("La", "RGBa"):  # premultiplied
        image = (Image.fromarray(grey) if mode == "La" else colours).convert("LA" if mode == "La" else "RGBA")
        return image.convert(mode), np.asarray(image.convert("RGB"))
    if mode == "LAB":
        white = Image.new("LAB", (SIDE, SIDE), (255, 128, 128))
        return white, np.full((SIDE, SIDE, 3), 255, np.uint8)
    image = colours.convert("LA").convert(mode) if mode == "PA" else colours.convert(mode)
    return image, np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_is_read_as_it_looks_or_refused(tmp_path: Path, mode: str) -> None:
    image, expected = ramp(mode)
    told = "32-bit pixels (mode "
    found: list[npt.NDArray[np.uint8] | str]
    try:
        found = [np.asarray(decoding.upright_rgb(image.copy(), of=image))]
    except (decoding.UnusableError, ValueError) as error:
        found = [str(error)]
    for file_format in ("TIFF", "BMP") if mode == "I" else ("PNG", "TIFF", "BMP"):  # without loss
        try:
            content = encoded(image, file_format)
        except (OSError, ValueError):  # cannot be kept so
            continue
        one = decoded(tmp_path, content)
        found.append(one.pixels.transpose(1, 2, 0) if one.problem is None else one.problem)
    for one in found:
        if isinstance(one, str):
            assert told in one or f"conversion from {mode} to RGB not supported" in one  # by older Pillow
        else:
            assert mode not in ("I", "F")
            assert np.abs(one.astype(int) - expected).max() <= (3 if mode == "LAB" else 0)


@pytest.mark.parametrize(("bits", "photometric"), [(16, 1), (16, 0), (12, 1)])
def test_deep_tiffs_are_as_bright_as_they_say(tmp_path: Path, bits: int, photometric: int) -> None:
    grey = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    shown = (255 - grey if photometric == 0 else grey).astype(np.uint8)
    numbers = grey << (bits - 8)
    if bits == 16:
        strip = numbers.astype("<u2").tobytes()
    else:  # two numbers in three bytes
        first, second = numbers.reshape(-1, 2).T.astype(int)
        strip = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: SIDE, 279: len(strip)}
    entries = b"".join(struct.pack("<HHIHxx", tag, 3, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    content = head + strip + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    image = decoded(tmp_path, content)
    assert image.problem is None
    assert np.array_equal(image.pixels, np.broadcast_to(shown, (3, SIDE, SIDE)))
    with Image.open(tmp_path / "a/file") as opened:
        assert np.array_equal(next(iter(square_images([opened], SIDE))), image.pixels)
