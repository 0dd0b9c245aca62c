from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from dpq.errors import InputError
from dpq.protocols.base import ReadOptions
from dpq.protocols.store import decoding, write
from dpq.protocols.store import files as store_files
from dpq.protocols.store.decoding import Decoded, decode_file
from dpq.protocols.store.files import StoreFiles
from dpq.protocols.store.read import ImageStore
from dpq.protocols.store.write import inspect_images, store_images
from tests.dpq.protocols.gallery import encoded, kinds, photo, photos, png_header, reference, write_files

SIDE = 12
ROW_BYTES = 3 * SIDE**2
COUNT = 20
FOREIGN_LINES = b'{"a": 1}\n5\n[99, "x", "x", null]\n[-1, "x", "x", null]\n[3]\n\xff'
FORK = multiprocessing.get_context("fork")


def store(root: Path, files: Any, cache: Path, workers: int = 0, allow: int = 0, side: int = SIDE) -> ImageStore:
    return store_images(root, list(files), cache, ReadOptions(side, allow, workers=workers))


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        store(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(images: ImageStore) -> np.ndarray:
    usable = [row for row, digest in enumerate(images.inspection.digests) if digest is not None]
    return images.rows(torch.tensor(usable))[:].numpy()


def expected(files: dict[str, bytes], side: int = SIDE) -> np.ndarray:
    return np.stack([reference(content, side) for content in files.values()])


def suffixes(cache: Path) -> set[str]:
    return {path.suffix for path in cache.iterdir()} - {".lock"}


class Gallery(NamedTuple):
    root: Path
    files: dict[str, bytes]
    cache: Path


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    files = photos(COUNT)
    return Gallery(write_files(tmp_path / "root", files), files, tmp_path / "cache")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are decoded in this process, as they come; commits are of four rows."""
    names: list[str] = []

    def note(root: Path, name: str, *rest: Any) -> Decoded:
        names.append(name)
        return decode_file(root, name, *rest)

    monkeypatch.setattr(decoding, "decode_file", note)
    monkeypatch.setattr(store_files, "_COMMIT", 4 * ROW_BYTES)
    return names


def interrupt_at(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]) -> None:
    def decode(root: Path, asked: str, *rest: Any) -> Decoded:
        if asked == name:
            act()
        return decode_file(root, asked, *rest)

    monkeypatch.setattr(decoding, "decode_file", decode)
    monkeypatch.setattr(store_files, "_COMMIT", 4 * ROW_BYTES)


def press_ctrl_c() -> None:
    raise KeyboardInterrupt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- pixels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [5, 32])
def test_pixels_are_those_of_the_reference(tmp_path: Path, side: int) -> None:
    files = kinds()
    made = store(write_files(tmp_path / "root", files), files, tmp_path / "cache", side=side)
    assert np.array_equal(pixels(made), expected(files, side))
    assert made.names == tuple(files)
    assert made.side == side
    assert made.inspection.problems == {}
    assert made.inspection.digests == tuple(hashlib.sha256(content).hexdigest() for content in files.values())


def test_any_number_of_workers_writes_the_same_file(gallery: Gallery, tmp_path: Path) -> None:
    whole = expected(gallery.files).tobytes()
    for workers in (0, 1, 3):
        cache = tmp_path / str(workers)
        made = store(gallery.root, gallery.files, cache, workers)
        assert made.path.read_bytes() == whole
        assert suffixes(cache) == {".pixels", ".json"}


def test_the_listings_order_is_kept(gallery: Gallery) -> None:
    names = sorted(gallery.files, reverse=True)
    made = store(gallery.root, names, gallery.cache, workers=2)
    assert np.array_equal(pixels(made), expected({name: gallery.files[name] for name in names}))


def test_no_progress_bar_without_a_terminal(gallery: Gallery, capfd: pytest.CaptureFixture[str]) -> None:
    store(gallery.root, gallery.files, gallery.cache)
    assert capfd.readouterr() == ("", "")


# --- decoding once -------------------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing(gallery: Gallery, tried: list[str]) -> None:
    first = store(gallery.root, gallery.files, gallery.cache)
    assert tried == list(gallery.files)
    moved = shutil.move(gallery.root, gallery.root.with_name("moved"))  # the files are the same ones
    second = store(moved, gallery.files, gallery.cache)
    assert tried == list(gallery.files)
    assert second == first


def test_a_changed_file_is_decoded_anew_and_alone(gallery: Gallery, tried: list[str]) -> None:
    store(gallery.root, gallery.files, gallery.cache)
    name = list(gallery.files)[3]
    changed = {**gallery.files, name: encoded(photo(99))}
    write_files(gallery.root, {name: changed[name]})
    os.utime(gallery.root / name, ns=(1, 1))
    tried.clear()
    made = store(gallery.root, changed, gallery.cache)
    assert tried == [name]
    assert np.array_equal(pixels(made), expected(changed))
    assert made.inspection == inspect_images(gallery.root, list(changed), workers=0)


def test_another_side_is_another_store(gallery: Gallery) -> None:
    first = store(gallery.root, gallery.files, gallery.cache)
    assert np.array_equal(pixels(store(gallery.root, gallery.files, gallery.cache, side=7)), expected(gallery.files, 7))
    assert np.array_equal(pixels(first), expected(gallery.files))


def test_a_file_that_went_or_came_is_noticed(gallery: Gallery, tried: list[str]) -> None:
    name = list(gallery.files)[5]
    aside = gallery.root / name
    content, stamp = aside.read_bytes(), aside.stat()
    store(gallery.root, gallery.files, gallery.cache)
    aside.unlink()
    assert "missing" in store(gallery.root, gallery.files, gallery.cache, allow=1).inspection.problems[name]
    aside.write_bytes(content)
    os.utime(aside, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    tried.clear()
    assert np.array_equal(pixels(store(gallery.root, gallery.files, gallery.cache)), expected(gallery.files))
    assert tried == [name]


def test_an_interrupted_call_goes_on_where_it_stopped(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    names = list(gallery.files)
    interrupt_at(monkeypatch, names[10], press_ctrl_c)
    monkeypatch.setattr(decoding, "_MOST_BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        store(gallery.root, names, gallery.cache)
    assert suffixes(gallery.cache) == {".partial", ".journal"}
    tried = request.getfixturevalue("tried")
    made = store(gallery.root, names, gallery.cache)
    assert tried == names[8:]  # rows are committed by fours
    assert made.path.read_bytes() == expected(gallery.files).tobytes()
    assert suffixes(gallery.cache) == {".pixels", ".json"}


def test_a_killed_process_loses_little(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    names = list(gallery.files)
    interrupt_at(monkeypatch, names[10], die)
    monkeypatch.setattr(decoding, "_MOST_BATCH", 1)
    process = FORK.Process(target=store, args=(gallery.root, names, gallery.cache))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    tried = request.getfixturevalue("tried")
    made = store(gallery.root, names, gallery.cache)
    assert tried == names[8:]
    assert made.path.read_bytes() == expected(gallery.files).tobytes()


def test_a_killed_worker_ends_the_call_and_not_the_work(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    names = list(gallery.files)
    interrupt_at(monkeypatch, names[15], die)
    monkeypatch.setattr(decoding, "_MOST_BATCH", 1)
    with pytest.raises(InputError, match="a process that decoded images was killed") as raised:
        store(gallery.root, names, gallery.cache, workers=2)
    assert raised.value.about == "workers"
    tried = request.getfixturevalue("tried")
    assert np.array_equal(pixels(store(gallery.root, names, gallery.cache)), expected(gallery.files))
    assert len(tried) < COUNT


def test_two_processes_share_the_work(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"

    def note(root: Path, name: str, *rest: Any) -> Decoded:
        with log.open("a") as file:
            file.write(f"{name}\n")
        return decode_file(root, name, *rest)

    monkeypatch.setattr(decoding, "decode_file", note)
    processes = [FORK.Process(target=store, args=(gallery.root, gallery.files, gallery.cache)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text().splitlines() == list(gallery.files)


# --- damage --------------------------------------------------------------------------------------------------


def interrupted(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A store in the making with 16 of its 20 rows; its files by suffix."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, list(gallery.files)[16], press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            store(gallery.root, gallery.files, gallery.cache)
    return {path.suffix: path for path in gallery.cache.iterdir()}


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "spoil", "again"),
    [
        (".partial", lambda path: flip(path, -1), [15, 16, 17, 18, 19]),
        (".partial", lambda path: flip(path, 0), [0, 16, 17, 18, 19]),
        (".partial", lambda path: os.truncate(path, 10 * ROW_BYTES - 1), range(9, 20)),
        (".partial", lambda path: path.write_bytes(path.read_bytes() + bytes(100 * ROW_BYTES)), range(16, 20)),
        (".partial", Path.unlink, range(20)),
        (".journal", lambda path: os.truncate(path, path.stat().st_size - 5), range(15, 20)),
        (".journal", lambda path: path.write_bytes(path.read_bytes() + FOREIGN_LINES), range(16, 20)),
        (".journal", Path.unlink, range(20)),
    ],
)
def test_what_is_damaged_in_the_making_is_decoded_again(
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    suffix: str,
    spoil: Callable[[Path], None],
    again: Any,
) -> None:
    spoil(interrupted(gallery, monkeypatch)[suffix])
    tried = request.getfixturevalue("tried")
    made = store(gallery.root, gallery.files, gallery.cache)
    assert tried == [list(gallery.files)[row] for row in again]
    assert made.path.read_bytes() == expected(gallery.files).tobytes()


def test_damage_far_back_is_found_at_the_end(
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flip(interrupted(gallery, monkeypatch)[".partial"], 0)
    monkeypatch.setattr(store_files, "_CHECKED", 4)
    tried = request.getfixturevalue("tried")
    made = store(gallery.root, gallery.files, gallery.cache)
    names = list(gallery.files)
    assert tried == [*names[16:], names[0]]
    assert made.path.read_bytes() == expected(gallery.files).tobytes()
    assert "1 decoded images in the cache are damaged" in caplog.text


def test_a_disk_that_forgets_is_refused(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoreFiles, "_damaged", lambda self, path, records: sorted(records)[:1])
    assert "does not keep what is written to it" in refusal(gallery.root, gallery.files, gallery.cache)
    assert ".json" not in suffixes(gallery.cache)


def of_other_rows(path: Path) -> None:
    about = json.loads(path.read_bytes())
    path.write_text(json.dumps({**about, "records": about["records"][::-1]}))


@pytest.mark.parametrize(
    ("suffix", "spoil", "again"),
    [
        (".pixels", lambda path: flip(path, 3 * ROW_BYTES), [3]),
        (".pixels", lambda path: os.truncate(path, 19 * ROW_BYTES), [19]),
        (".pixels", Path.unlink, range(20)),
        (".json", Path.unlink, range(20)),
        (".json", lambda path: path.write_text("{}"), range(20)),
        (".json", lambda path: path.write_text(path.read_text()[:99]), range(20)),
        (".json", of_other_rows, range(20)),
    ],
)
def test_a_damaged_store_is_restored(
    gallery: Gallery,
    tried: list[str],
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    spoil: Callable[[Path], None],
    again: Any,
) -> None:
    store(gallery.root, gallery.files, gallery.cache)
    tried.clear()
    (path,) = gallery.cache.glob(f"*{suffix}")
    spoil(path)
    cleared = not list(gallery.cache.glob("*.pixels"))  # as good as a cache that never had it
    made = store(gallery.root, gallery.files, gallery.cache)
    assert tried == [list(gallery.files)[row] for row in again]
    assert made.path.read_bytes() == expected(gallery.files).tobytes()
    assert suffixes(gallery.cache) == {".pixels", ".json"}
    assert ("restoring" in caplog.text) != cleared


def test_a_store_that_was_only_touched_is_read_through_once(
    gallery: Gallery, tried: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = store(gallery.root, gallery.files, gallery.cache)
    os.utime(made.path, ns=(1, 1))
    assert store(gallery.root, gallery.files, gallery.cache) == made
    monkeypatch.setattr(StoreFiles, "_damaged", None)
    assert store(gallery.root, gallery.files, gallery.cache) == made
    assert len(tried) == COUNT
    assert not caplog.text


def test_an_interruption_while_finishing_costs_no_image(
    gallery: Gallery, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_files, "write_about", lambda *args: press_ctrl_c())
        with pytest.raises(KeyboardInterrupt):
            store(gallery.root, gallery.files, gallery.cache)
    assert suffixes(gallery.cache) == {".pixels", ".journal"}
    made = store(gallery.root, gallery.files, gallery.cache)
    assert len(tried) == COUNT
    assert made.path.read_bytes() == expected(gallery.files).tobytes()


# --- files that cannot be used -------------------------------------------------------------------------------


def spoiled(gallery: Gallery) -> dict[str, str]:
    """Makes four files unusable; part of each one's reason."""
    cut = encoded(photo(0))[:-40]
    write_files(gallery.root, {"0/003.jpg": cut, "1/004.jpg": b"text", "2/005.jpg": png_header(10_000, 9000)})
    (gallery.root / "0/000.jpg").unlink()
    return {"0/000.jpg": "missing", "0/003.jpg": "truncated", "1/004.jpg": "no image", "2/005.jpg": "10000x9000"}


def test_missing_files_are_found_before_anything_is_decoded(gallery: Gallery, tried: list[str]) -> None:
    for name in list(gallery.files)[4:9]:
        (gallery.root / name).unlink()
    message = refusal(gallery.root, gallery.files, gallery.cache, allow=4)
    assert "5 of 20 images" in message
    assert "'1/004.jpg' (missing), '2/005.jpg' (missing), '0/006.jpg' (missing) and 2 more" in message
    assert "complete the copy" in message
    assert "or go on without them with allow_missing=5" in message
    assert tried == []
    assert not gallery.cache.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_unusable_files_are_named(gallery: Gallery, workers: int) -> None:
    reasons = spoiled(gallery)
    for allow in (1, 3):
        message = refusal(gallery.root, gallery.files, gallery.cache, workers, allow=allow)
        assert "4 of 20" in message
        assert all(f"{name!r} (" in message and reasons[name] in message for name in list(reasons)[:3])
        assert ".json" not in suffixes(gallery.cache)
    made = store(gallery.root, gallery.files, gallery.cache, workers, allow=4)
    assert made.inspection == inspect_images(gallery.root, list(gallery.files), workers=workers)
    problems = made.inspection.problems
    assert all(reasons[name] in problems[name] for name in reasons)
    sound = {name: content for name, content in gallery.files.items() if name not in reasons}
    assert list(problems) == list(reasons)
    assert np.array_equal(pixels(made), expected(sound))
    digests = [hashlib.sha256(sound[name]).hexdigest() if name in sound else None for name in gallery.files]
    assert list(made.inspection.digests) == digests


def test_unusable_files_cost_only_themselves(gallery: Gallery, tried: list[str]) -> None:
    reasons = spoiled(gallery)
    refusal(gallery.root, gallery.files, gallery.cache, allow=1)
    tried.clear()
    store(gallery.root, gallery.files, gallery.cache, allow=4)
    assert tried == list(reasons)
    tried.clear()
    store(gallery.root, gallery.files, gallery.cache, allow=4)
    assert tried == []


def test_a_file_that_can_be_read_again_is_taken(gallery: Gallery, tried: list[str]) -> None:
    path = gallery.root / "1/004.jpg"
    state = path.stat()
    path.write_bytes(bytes(state.st_size))  # as a disk with a fault would give it
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert store(gallery.root, gallery.files, gallery.cache, allow=1).inspection.problems
    assert "1/004.jpg" in refusal(gallery.root, gallery.files, gallery.cache)
    assert suffixes(gallery.cache) == {".pixels", ".json"}  # still there for those who put up with it
    path.write_bytes(gallery.files["1/004.jpg"])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    tried.clear()
    assert np.array_equal(pixels(store(gallery.root, gallery.files, gallery.cache)), expected(gallery.files))
    assert set(tried) == {"1/004.jpg"}


@pytest.mark.parametrize("name", ["../root/0/000.jpg", "0/../0/000.jpg", "/etc/passwd"])
def test_names_that_leave_the_root_are_refused(gallery: Gallery, name: str) -> None:
    assert repr(name) in refusal(gallery.root, [*gallery.files, name], gallery.cache)
    with pytest.raises(InputError, match="leaves"):
        inspect_images(gallery.root, [name])


def test_folders_of_images_may_be_linked(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/images").symlink_to(gallery.root)
    names = [f"images/{name}" for name in gallery.files]
    assert np.array_equal(pixels(store(tmp_path / "lists", names, gallery.cache)), expected(gallery.files))
    (tmp_path / "alias").symlink_to(gallery.root)
    assert len(store(tmp_path / "alias", gallery.files, gallery.cache).names) == COUNT  # the root may be a link


def test_bad_listings_are_refused(gallery: Gallery) -> None:
    name = next(iter(gallery.files))
    assert f"{name!r} is listed 2 times" in refusal(gallery.root, [*gallery.files, name], gallery.cache)
    assert "no images are listed" in refusal(gallery.root, [], gallery.cache)
    assert "no image folder" in refusal(gallery.root / "nowhere", gallery.files, gallery.cache)


def test_an_inspection_writes_nothing(gallery: Gallery, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = inspect_images(gallery.root, list(gallery.files), workers=2)
    assert found.problems == {}
    assert found.digests == tuple(hashlib.sha256(content).hexdigest() for content in gallery.files.values())
    assert sorted(tmp_path.rglob("*")) == before


# --- the cache's disk ----------------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_is_refused_and_resumed(gallery: Gallery, tried: list[str]) -> None:
    size = 3 * 256**2
    with largest_file(10 * size + 7):
        message = refusal(gallery.root, gallery.files, gallery.cache, side=256)
    assert "they need 0.0 GB in all" in message
    assert "DPQ_CACHE" in message
    tried.clear()
    made = store(gallery.root, gallery.files, gallery.cache, side=256)
    assert len(tried) == COUNT - 10
    assert np.array_equal(pixels(made), expected(gallery.files, 256))


def test_too_little_space_is_refused_at_once(
    gallery: Gallery, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(gallery.root)
    for free, sufficient in ((COUNT * ROW_BYTES - 1, False), (COUNT * ROW_BYTES, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        if not sufficient:
            message = refusal(gallery.root, gallery.files, gallery.cache)
            assert os.strerror(errno.ENOSPC) in message
            assert "DPQ_CACHE" in message
            assert tried == []
        else:
            store(gallery.root, gallery.files, gallery.cache)


def test_a_cache_that_cannot_be_made_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refusal(gallery.root, gallery.files, tmp_path / "file" / "cache")
    assert "GB in all" in message
    assert "DPQ_CACHE" in message


def test_decoding_says_where_to(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, write.__name__):
        made = store(gallery.root, gallery.files, gallery.cache)
    assert f"decoding 20 of 20 images into {made.path}" in caplog.text
