from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import lzma
import os
import random
import re
import struct
import tarfile
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpq.errors import InputError
from dpq.protocols import image_tree
from dpq.protocols.archives import Bounds, tar_files
from dpq.protocols.base import Split, fingerprint
from dpq.protocols.image_tree import ImageTree, kept_fingerprint, read_image_tree
from dpq.protocols.store.decoding import in_workers
from dpq.protocols.store.files import Record, StoreFiles, write_about

SIZE = (6, 5)  # height, width
PACKERS: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def miniature() -> dict[str, bytes]:
    names = [
        f"{split}/{group}/{i:02d}.png" for split in ("test", "train") for group in ("cat", "dog") for i in range(3)
    ]
    return {name: encoded(Image.fromarray(pixels(i))) for i, name in enumerate(names)}


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def tar_bytes(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def plain_tar(files: Mapping[str, bytes]) -> bytes:
    return tar_bytes([entry(name, content) for name, content in files.items()])


def same(one: ImageTree, other: ImageTree) -> bool:
    return (one.names, one.formats) == (other.names, other.formats) and np.array_equal(one.images, other.images)


def refusal(source: Path, cache: Path, bounds: Bounds | None = None) -> str:
    """The message of the refusal, which is one line and leaves nothing in the cache but a lock."""
    with pytest.raises(InputError) as error:
        read_image_tree(source, SIZE, cache, *([bounds] if bounds else []))
    assert "\n" not in str(error.value)
    assert not kept(cache)
    return str(error.value)


def kept(cache: Path) -> list[Path]:
    """What a cache holds besides locks."""
    return sorted(path for path in cache.glob("*") if path.suffix != ".lock")


def tar_refusal(tmp_path: Path, content: bytes, bounds: Bounds | None = None) -> str:
    (tmp_path / "images.tar").write_bytes(content)
    return refusal(tmp_path / "images.tar", tmp_path / "cache", bounds)


def test_pixels_names_and_formats(tmp_path: Path) -> None:
    tree = read_image_tree(write_folder(tmp_path / "images", miniature()), SIZE, tmp_path / "cache")
    assert tree.names == tuple(sorted(miniature()))
    assert tree.formats == ("PNG",)
    assert tree.images.dtype == np.uint8
    for i, image in enumerate(tree.images):
        assert np.array_equal(image, pixels(i).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_tar_in_any_order_gives_what_the_folder_gives(tmp_path: Path, suffix: str) -> None:
    files = list(miniature().items())
    expected = read_image_tree(write_folder(tmp_path / "images", dict(files)), SIZE, tmp_path / "a")
    random.Random(3).shuffle(files)
    folders = [entry("./train/", kind=tarfile.DIRTYPE)]
    packed = tar_bytes(folders + [entry(f"./{name}", content) for name, content in files])
    archive = tmp_path / "any-name"
    archive.write_bytes(PACKERS[suffix](packed))
    before = sorted(tmp_path.rglob("*"))
    assert same(read_image_tree(archive, SIZE, tmp_path / "b"), expected)
    made = set(tmp_path.rglob("*")) - set(before)
    assert {path.suffix for path in made if path.is_file()} == {".pixels", ".json", ".lock"}  # nothing was extracted


def test_order_is_by_folder_then_stem(tmp_path: Path) -> None:
    image = encoded(Image.fromarray(pixels(0)))
    files = dict.fromkeys(["b/x/1.png", "a/x/1-1.png", "a/x/1.png", "a/w/2.png"], image)
    tree = read_image_tree(write_folder(tmp_path / "images", files), SIZE, tmp_path / "cache")
    assert tree.names == ("a/w/2.png", "a/x/1.png", "a/x/1-1.png", "b/x/1.png")


def test_a_folder_may_be_reached_by_links(tmp_path: Path) -> None:
    files = miniature()
    expected = read_image_tree(write_folder(tmp_path / "images", files), SIZE, tmp_path / "a")
    (tmp_path / "linked/train/cat").mkdir(parents=True)
    (tmp_path / "linked/test").symlink_to(tmp_path / "images/test")
    (tmp_path / "linked/train/dog").symlink_to("../../images/train/dog")
    for name in files:
        if name.startswith("train/cat/"):
            (tmp_path / "linked" / name).symlink_to(tmp_path / "images" / name)
    assert same(read_image_tree(tmp_path / "linked", SIZE, tmp_path / "b"), expected)
    (tmp_path / "linked/train/cat/00.png").unlink()
    (tmp_path / "linked/train/cat/00.png").symlink_to("nowhere")
    assert "train/cat/00.png" in refusal(tmp_path / "linked", tmp_path / "c")
    (tmp_path / "linked/train/cow").symlink_to("nowhere")
    assert "cow leads nowhere; mend it or take it away" in refusal(tmp_path / "linked", tmp_path / "c")


def test_what_is_passed_over_in_a_folder_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_folder(tmp_path / "images", {**miniature(), "train/cat/deep/1.png": b"", "train/cow/1.gif": b""})
    read_image_tree(root, SIZE, tmp_path / "cache")
    assert "no images and passed over: 'train/cow/1.gif'\n" in caplog.text
    assert "folders without images, passed over (1): 'train/cow'\n" in caplog.text
    assert "images that are in no <split>/<class>/, passed over: 'train/cat/deep/1.png'\n" in caplog.text


def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    deep = (np.arange(30, dtype=np.uint16) * 2000).reshape(SIZE)
    tree = read_image_tree(
        write_folder(tmp_path / "images", {"a/b/1.png": encoded(Image.fromarray(deep))}), SIZE, tmp_path / "cache"
    )
    assert np.array_equal(tree.images[0], np.broadcast_to(deep >> 8, (3, *SIZE)))


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    junk = ["README.png", "train/list.png", "train/cat/notes.txt", "train/cat/._00.png", "train/cat/deep/1.png"]
    files = {**dict.fromkeys(junk, b"no image"), **miniature()}
    folder = read_image_tree(write_folder(tmp_path / "images", files), SIZE, tmp_path / "a")
    (tmp_path / "images.tar").write_bytes(plain_tar(files))
    assert folder.names == tuple(sorted(miniature()))
    assert same(read_image_tree(tmp_path / "images.tar", SIZE, tmp_path / "b"), folder)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG")],
)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, file_format: str) -> None:
    image = Image.new("RGB", SIZE[::-1], (255, 255, 255)).convert(mode)
    suffix = "jpg" if file_format == "JPEG" else "png"
    folder = write_folder(tmp_path / "images", {f"train/cat/0.{suffix}": encoded(image, file_format)})
    tree = read_image_tree(folder, SIZE, tmp_path / "cache")
    assert tree.formats == (file_format,)
    assert np.array_equal(tree.images, np.full((1, 3, *SIZE), 255))


def test_no_progress_bar_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_image_tree(write_folder(tmp_path / "images", miniature()), SIZE, tmp_path / "cache")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("packed", [False, True])
def test_worker_processes_give_what_one_process_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    files = {f"train/{'abc'[i % 3]}/{i:03d}.png": encoded(Image.fromarray(pixels(i))) for i in range(40)}
    files["train/c/second.jpg"] = encoded(Image.fromarray(pixels(0)), "JPEG")
    source = write_folder(tmp_path / "images", files)
    if packed:
        source = tmp_path / "images.tar"
        source.write_bytes(plain_tar(files))
    here = read_image_tree(source, SIZE, tmp_path / "a")
    asked = in_processes(monkeypatch)
    assert same(read_image_tree(source, SIZE, tmp_path / "b"), here)
    assert asked == [2]
    assert [path.read_bytes() for path in sorted((tmp_path / "a").glob("*.pixels"))] == [
        path.read_bytes() for path in sorted((tmp_path / "b").glob("*.pixels"))
    ]
    assert here.digests == tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in here.images)


def in_processes(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Lets two workers decode, whatever the size; the list gets what was asked for."""
    asked: list[int | None] = []

    def spread(work: Any, items: Any, workers: int | None, *rest: Any, batch: int, **options: Any) -> Any:
        asked.append(2 if workers is None else workers)
        return in_workers(work, items, asked[-1], *rest, batch=3, **options)

    monkeypatch.setattr(image_tree, "_SMALL", 0)
    monkeypatch.setattr(image_tree, "in_workers", spread)
    return asked


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        entry("train/cat/link.png", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        entry("train/cat/hard.png", kind=tarfile.LNKTYPE, link="train/cat/00.png"),
        entry("train/cat/device.png", kind=tarfile.CHRTYPE),
        entry("train/cat/pipe.png", kind=tarfile.FIFOTYPE),
        entry("train/cat/sparse.png", kind=tarfile.GNUTYPE_SPARSE),
        entry("/train/cat/absolute.png", b"x"),
        entry("../cat/above.png", b"x"),
        entry("train/../twice.png", b"x"),
    ],
    ids=lambda bad: bad[0].name.rsplit("/", 1)[-1],
)
def test_unsafe_members_are_refused(tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]) -> None:
    good = [entry(name, content) for name, content in miniature().items()]
    message = tar_refusal(tmp_path, tar_bytes([*good, bad]))
    assert repr(bad[0].name) in message
    assert "refused" in message


def test_a_name_packed_twice_is_refused(tmp_path: Path) -> None:
    good = [entry(name, content) for name, content in miniature().items()]
    assert "'test/cat/00.png' twice" in tar_refusal(tmp_path, tar_bytes([*good, good[0]]))


@pytest.mark.parametrize("suffix", PACKERS)
def test_truncated_archives_are_refused(tmp_path: Path, suffix: str) -> None:
    packed = plain_tar(miniature())
    content = PACKERS[suffix](packed)
    end = len(packed.rstrip(b"\0")) if suffix == "tar" else len(content)  # a plain tar may lose its padding
    cuts = range(0, end, 512) if suffix == "tar" else (*range(0, end, max(1, end // 15)), end - 1)
    for cut in cuts:
        assert "images.tar" in tar_refusal(tmp_path, content[:cut])


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz"])
def test_altered_archives_are_refused(tmp_path: Path, suffix: str) -> None:
    content = PACKERS[suffix](plain_tar(miniature()))
    for position in range(12, len(content), max(1, len(content) // 25)):
        altered = bytearray(content)
        altered[position] ^= 0x10
        tar_refusal(tmp_path, bytes(altered))


def test_damaged_headers_are_no_early_end(tmp_path: Path) -> None:
    packed = bytearray(plain_tar(miniature()))
    third = bytes(packed).index(b"test/cat/02.png")
    packed[third] ^= 1
    assert "header is damaged" in tar_refusal(tmp_path, bytes(packed))
    packed[third : third + tarfile.BLOCKSIZE] = bytes(tarfile.BLOCKSIZE)
    assert "data follow its end" in tar_refusal(tmp_path, bytes(packed))


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(10240), b"\x1f\x8b", b"\xfd7zXZ\0"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "images.tar" in tar_refusal(tmp_path, content)


@pytest.mark.parametrize("name", ["train/cat/zeros.png", "zeros.bin"])
@pytest.mark.parametrize("suffix", PACKERS)
def test_an_archive_that_unpacks_beyond_its_bound_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    content = PACKERS[suffix](plain_tar({**miniature(), name: bytes(1 << 20)}))
    assert "more than 900000 bytes" in tar_refusal(tmp_path, content, Bounds(total=900_000))


def test_zeros_after_the_end_count_too(tmp_path: Path) -> None:
    content = gzip.compress(plain_tar(miniature()) + bytes(5 << 20))
    assert "more than 3000000 bytes" in tar_refusal(tmp_path, content, Bounds(total=3_000_000))


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    files = {**miniature(), "train/cat/large.png": bytes(5001)}
    bounds = Bounds(file=5000)
    folder = write_folder(tmp_path / "images", files)
    for message in (tar_refusal(tmp_path, plain_tar(files), bounds), refusal(folder, tmp_path / "cache", bounds)):
        assert "'train/cat/large.png'" in message
        assert "more than 5000" in message


def test_decoded_pixels_are_bounded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", miniature())
    assert "decode to more than 200 bytes" in refusal(folder, tmp_path / "cache", Bounds(total=200))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
@pytest.mark.parametrize("size", [1 << 40, -4096])
def test_headers_that_lie_about_sizes_are_refused(tmp_path: Path, kind: bytes, size: int) -> None:
    info = tarfile.TarInfo("train/cat/0.png")
    info.type, info.size = kind, size
    tar_refusal(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    good = miniature()["test/cat/00.png"]
    other_format = encoded(Image.fromarray(pixels(0)), "PPM")  # Pillow would read it
    for content in (b"", b"no image", good[: len(good) // 2], other_format):
        files = {**miniature(), "train/dog/bad.png": content}
        assert "'train/dog/bad.png'" in refusal(write_folder(tmp_path / "images", files), tmp_path / "cache")
        assert "'train/dog/bad.png'" in tar_refusal(tmp_path, plain_tar(files))


@pytest.mark.parametrize("claimed", [(6, 5), (60_000, 1000), (60_000, 60_000)])
def test_sizes_are_checked_before_decoding(tmp_path: Path, claimed: tuple[int, int]) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", *claimed, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    message = tar_refusal(tmp_path, plain_tar({"train/cat/bomb.png": bomb + b"\0\0\0\0IDAT"}))
    assert "'train/cat/bomb.png'" in message
    # Pixels that are missing would be another complaint.
    assert (f"is {claimed[0]}x{claimed[1]} pixels; it must be 5x6" in message) or "exceeds limit" in message


def test_missing_and_empty_sources_are_refused(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere", tmp_path / "cache")
    assert "holds no images" in refusal(write_folder(tmp_path / "f", {"train/a.png": b""}), tmp_path / "cache")
    assert "holds no images" in tar_refusal(tmp_path, plain_tar({"train/a.txt": b""}))


@pytest.mark.parametrize("processes", [False, True])
def test_the_first_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: bool) -> None:
    if processes:
        in_processes(monkeypatch)
    files = {**miniature(), "train/dog/1bad.png": b"no image", "train/dog/2bad.png": b"no image"}
    for source in (tmp_path / "tar", write_folder(tmp_path / "images", files)):
        if source.name == "tar":
            source.write_bytes(plain_tar(files).rstrip(b"\0"))  # cut off, which is found after all images
        message = refusal(source, tmp_path / "cache")
        assert "'train/dog/1bad.png'" in message
    (tmp_path / "tar").write_bytes(plain_tar(miniature()).rstrip(b"\0"))
    assert "unexpected end of data" in refusal(tmp_path / "tar", tmp_path / "cache")


# --- cache ---------------------------------------------------------------------------------------------------


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "open", fail)


@pytest.fixture(params=["folder", "tar"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return write_folder(tmp_path / "images", miniature())
    (tmp_path / "images.tar").write_bytes(plain_tar(miniature()))
    return tmp_path / "images.tar"


def cached(cache: Path, suffix: str) -> Path:
    (path,) = cache.glob(f"*.{suffix}")
    return path


def test_second_load_decodes_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_image_tree(source, SIZE, tmp_path / "cache")
    forbid_decoding(monkeypatch)
    assert same(read_image_tree(source, SIZE, tmp_path / "cache"), first)
    assert len(kept(tmp_path / "cache")) == 2


def put(path: Path, content: bytes) -> None:
    """Another file in the place of one that may be mapped: shortening that would end the process."""
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def flip_last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def lasting(content: bytes) -> bytes:
    """The content of a file of the cache but for the time of the other's change, which its JSON notes."""
    return re.sub(rb'"mtime_ns": \d+', b"", content)


def one_image_less(content: bytes) -> bytes:
    return content[: -3 * SIZE[0] * SIZE[1]]


def of_other_images(content: bytes) -> bytes:
    about = json.loads(content)
    return json.dumps({**about, "records": about["records"][::-1]}).encode()


@pytest.mark.parametrize(
    ("suffix", "spoil"),
    [
        ("pixels", flip_last_byte),
        ("pixels", one_image_less),
        ("pixels", lambda content: content[:100]),
        ("pixels", lambda content: b""),
        ("json", lambda content: content[:100]),
        ("json", lambda content: b"[]"),
        ("json", lambda content: b"{}"),
        ("json", of_other_images),
    ],
)
def test_a_spoiled_cache_is_rebuilt(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    spoil: Callable[[bytes], bytes],
) -> None:
    cache = tmp_path / "cache"
    first = read_image_tree(source, SIZE, cache)
    whole = cached(cache, suffix).read_bytes()
    put(cached(cache, suffix), spoil(whole))
    assert same(read_image_tree(source, SIZE, cache), first)
    assert lasting(cached(cache, suffix).read_bytes()) == lasting(whole)
    put(cached(cache, suffix), spoil(whole))
    forbid_decoding(monkeypatch)
    with pytest.raises(InputError, match="decoded"):
        read_image_tree(source, SIZE, cache)


def test_a_cache_is_never_unpickled(source: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "marker"),)

    first = read_image_tree(source, SIZE, tmp_path / "cache")
    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap()], dtype=object), allow_pickle=True)
    put(cached(tmp_path / "cache", "pixels"), buffer.getvalue())
    assert same(read_image_tree(source, SIZE, tmp_path / "cache"), first)
    assert not (tmp_path / "marker").exists()


def test_a_cache_of_another_size_is_not_taken(source: Path, tmp_path: Path) -> None:
    read_image_tree(source, SIZE, tmp_path / "cache")
    with pytest.raises(InputError, match="5x6 pixels; it must be 6x5"):
        read_image_tree(source, (5, 6), tmp_path / "cache")


def test_changed_sources_are_decoded_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", miniature())
    first = read_image_tree(folder, SIZE, tmp_path / "cache")
    path = folder / "train/cat/00.png"
    path.write_bytes(encoded(Image.fromarray(pixels(99))))
    os.utime(path, ns=(1, 1))
    second = read_image_tree(folder, SIZE, tmp_path / "cache")
    assert np.array_equal(second.images[6], pixels(99).transpose(2, 0, 1))
    assert not same(first, second)


def test_an_unwritable_cache_costs_a_warning(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        tree = read_image_tree(source, SIZE, tmp_path / "file" / "cache")
    assert len(tree.names) == 12
    (record,) = caplog.records
    assert "DPQ_CACHE" in record.getMessage()


def test_members_are_counted(tmp_path: Path) -> None:
    files = {**miniature(), **{f"other/{i}": b"" for i in range(20)}}
    assert "more than 20 members" in tar_refusal(tmp_path, plain_tar(files), Bounds(members=20))


def test_extended_headers_are_few(tmp_path: Path) -> None:
    """tarfile copies a global header into every member that follows."""
    buffer = io.BytesIO()
    extras = {f"key{i}": "value" for i in range(100)}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=extras) as archive:
        for name, content in miniature().items():
            archive.addfile(entry(name, content)[0], io.BytesIO(content))
    assert "with 100 extra headers" in tar_refusal(tmp_path, buffer.getvalue())


def test_headers_behind_headers_without_a_file_are_refused(tmp_path: Path) -> None:
    """tarfile calls itself for each of them."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_LONGNAME
    assert "cannot read" in tar_refusal(tmp_path, info.tobuf(tarfile.GNU_FORMAT) * 5000)


def test_a_cache_that_claims_more_than_its_file_has_takes_no_memory(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_image_tree(source, SIZE, tmp_path / "cache")
    path, about = cached(tmp_path / "cache", "pixels"), cached(tmp_path / "cache", "json")
    records = json.loads(about.read_text())["records"] * 999
    write_about(about, [Record(*record) for record in records], path.stat().st_mtime_ns)
    mapped = np.memmap

    def whole(*arguments: Any, shape: tuple[int, int]) -> Any:
        assert shape == (12, 90), "read what is not there"
        return mapped(*arguments, shape=shape)

    monkeypatch.setattr(np, "memmap", whole)
    assert same(read_image_tree(source, SIZE, tmp_path / "cache"), first)


def test_a_map_is_shared_and_what_is_written_to_it_is_not(source: Path, tmp_path: Path) -> None:
    trees = [read_image_tree(source, SIZE, tmp_path / "cache") for _ in range(2)]
    expected, kept_file = trees[1].images.copy(), cached(tmp_path / "cache", "pixels")
    for tree in trees:
        map_ = tree.images.base
        assert isinstance(map_, np.memmap) and Path(str(map_.filename)) == kept_file
    trees[0].images[3] += 1
    assert np.array_equal(trees[1].images, expected)
    assert same(read_image_tree(source, SIZE, tmp_path / "cache"), trees[1])
    kept_file.unlink()  # under the map, which goes on to hold it
    assert np.array_equal(trees[1].images, expected)
    assert same(read_image_tree(source, SIZE, tmp_path / "cache"), trees[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's, of arrays that cannot be written
        assert np.array_equal(trees[1].selectable()[:].numpy(), expected)


def test_a_cache_that_is_full_costs_a_warning(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise InputError("full") from OSError("No space left on device")

    monkeypatch.setattr(StoreFiles, "keep", full)
    assert len(read_image_tree(source, SIZE, tmp_path / "cache").images) == 12
    (record,) = caplog.records
    assert "not cached (No space left on device)" in record.getMessage()
    assert not kept(tmp_path / "cache")


def test_who_comes_while_another_decodes_waits_for_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, decoded = threading.Barrier(2), []
    locked, decode = StoreFiles.locked, image_tree._decode_all

    def coming(store: StoreFiles) -> Any:
        came.wait(60)
        return locked(store)

    def once(*arguments: Any) -> Any:
        decoded.append(1)
        return decode(*arguments)

    monkeypatch.setattr(StoreFiles, "locked", coming)
    monkeypatch.setattr(image_tree, "_decode_all", once)
    with ThreadPoolExecutor(2) as pool:
        one, other = (pool.submit(read_image_tree, source, SIZE, tmp_path / "cache") for _ in range(2))
        assert same(one.result(), other.result())
    assert decoded == [1]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each file whose digest is taken."""
    found, digest = [], hashlib.file_digest

    def note(*arguments: Any) -> Any:
        found.append(1)
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", note)
    return found


def test_a_tar_is_read_once_for_each_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[int]) -> None:
    source, cache = tmp_path / "images.tar", tmp_path / "cache"
    source.write_bytes(plain_tar(miniature()))
    for _ in range(2):
        first = read_image_tree(source, SIZE, cache)
    assert len(hashed) == 2  # so new that another writing might not change its time
    monkeypatch.setattr(image_tree, "_SETTLED", -(10**12))
    for _ in range(2):
        assert same(read_image_tree(source, SIZE, cache), first)
    assert len(hashed) == 3
    cached(cache, "digest").write_text("0" * 128)  # damaged
    assert same(read_image_tree(source, SIZE, cache), first)
    assert len(hashed) == 4
    names = list(miniature())
    other = plain_tar({**miniature(), names[0]: miniature()[names[1]]})
    times = source.stat()
    source.write_bytes(other)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))  # as `cp -p` leaves it
    assert not same(read_image_tree(source, SIZE, cache), first)
    assert len(hashed) == 5


def test_a_tar_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "images.tar"
    source.write_bytes(plain_tar(miniature()))

    def changing(path: Path, bounds: Bounds) -> Any:
        yield from tar_files(path, bounds)
        path.write_bytes(plain_tar(miniature()) + bytes(512))

    monkeypatch.setattr(image_tree, "tar_files", changing)
    assert "has changed while it was read" in refusal(source, tmp_path / "cache")


def test_a_fingerprint_is_made_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    images = read_image_tree(source, SIZE, cache).selectable()
    whole = Split(images, torch.eye(12, dtype=torch.bool))
    cases = [
        (whole,),
        (whole.take(torch.arange(12).flip(0)),),
        (Split(images, whole.labels.flip(0)),),
        (whole.take(torch.arange(4)), whole.take(torch.arange(4, 12))),
    ]
    expected = [fingerprint(*splits) for splits in cases]
    assert [kept_fingerprint(cache, *splits) for splits in cases] == expected
    loaded = [(Split(split.images[:], split.labels) for split in splits) for splits in cases]
    assert [kept_fingerprint(cache, *splits) for splits in loaded] == expected
    monkeypatch.setattr(image_tree, "fingerprint", lambda *splits: "f" * 64)
    assert [kept_fingerprint(cache, *splits) for splits in cases] == expected
    for path in cache.glob("*.digest"):
        path.write_text(path.read_text()[::-1])
    assert [kept_fingerprint(cache, *splits) for splits in cases] == ["f" * 64] * 4
    assert kept_fingerprint(source / "no folder", whole) == "f" * 64


def test_a_cache_of_another_pillow_is_not_taken(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_image_tree(source, SIZE, tmp_path / "cache")
    forbid_decoding(monkeypatch)
    monkeypatch.setattr("PIL.__version__", "0")
    with pytest.raises(InputError, match="decoded"):
        read_image_tree(source, SIZE, tmp_path / "cache")


def test_caches_of_older_versions_are_left_alone_and_not_read(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    old = tmp_path / "cache" / f"{'0' * 64}.npy"
    old.write_bytes(b"anything")
    old.with_suffix(".json").write_text("{}")
    read_image_tree(source, SIZE, tmp_path / "cache")
    assert old.read_bytes() == b"anything"
    assert len(kept(tmp_path / "cache")) == 4
