from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import pickle
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from dpq.errors import InputError
from dpq.protocols import Dataset, Split, load_protocol
from dpq.protocols.base import fingerprint
from dpq.protocols.cifar import CIFAR10 as FULL
from dpq.protocols.cifar import load_cifar
from dpq.protocols.cifar_unseen import load_cifar_unseen

PER_SPLIT = {"train": 5, "test": 2}
MINI = replace(FULL, query=2, train=3, per_split=PER_SPLIT)
CLASSES = MINI.classes
KEYS = [f"{split}/{name}/{i:04d}" for split, count in PER_SPLIT.items() for name in CLASSES for i in range(count)]
PACKERS: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}
Official = Callable[[Path], Path]


@cache
def pixels(key: str) -> np.ndarray:
    """The made-up image [32, 32, 3] of a key; no two are equal."""
    return np.random.default_rng(KEYS.index(key)).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def encoded(image: np.ndarray, file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format)
    return buffer.getvalue()


def files(file_format: str = "PNG") -> dict[str, bytes]:
    suffix = {"PNG": "png", "JPEG": "jpg"}[file_format]
    return {f"{key}.{suffix}": encoded(pixels(key), file_format) for key in KEYS}


def write_folder(root: Path, content: dict[str, bytes]) -> Path:
    for name, image in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image)
    return root


def write_tar(path: Path, content: dict[str, bytes], pack: Callable[[bytes], bytes] = bytes) -> Path:
    names = list(content)
    random.Random(1).shuffle(names)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content[name])
            archive.addfile(info, io.BytesIO(content[name]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(buffer.getvalue()))
    return path


def load(data_root: Path | None, cache: Path, seed: int = 0) -> Dataset:
    return load_cifar(MINI, data_root, cache, seed)


def refusal(data_root: Path | None, cache: Path) -> str:
    with pytest.raises(InputError) as error:
        load(data_root, cache)
    assert "\n" not in str(error.value)
    return str(error.value)


def keys_of(split: Split) -> list[str]:
    found = {pixels(key).tobytes(): key for key in KEYS}
    return [found[image.permute(1, 2, 0).numpy().tobytes()] for image in split.images[:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "root" / "cifar10-jpeg", files())


# --- folders and tars of images ------------------------------------------------------------------------------


def test_draw_follows_the_rule(folder: Path, tmp_path: Path) -> None:
    def rank(key: str) -> str:
        return hashlib.sha256(f"4:{key}".encode()).hexdigest()

    data = load(folder.parent, tmp_path / "cache", seed=4)
    ranked = [sorted((key for key in KEYS if f"/{name}/" in key), key=rank) for name in CLASSES]
    for split, first, last in ((data.query, 0, 2), (data.train, 2, 5), (data.database, 5, 7)):
        keys = keys_of(split)
        expected = sorted((key for group in ranked for key in group[first:last]), key=rank)
        if split is data.database:  # drawn once more, or its head would lack classes
            expected = [expected[int(i)] for i in sorted((str(i) for i in range(len(expected))), key=rank)]
        assert keys == expected
        assert [CLASSES[row] for row in split.labels.int().argmax(dim=1)] == [key.split("/")[1] for key in keys]
        assert split.labels.sum(dim=1).eq(1).all()


def test_what_the_data_set_says_about_itself(folder: Path, tmp_path: Path) -> None:
    data = load(folder.parent, tmp_path / "cache")
    assert (data.protocol, data.classes, data.cut, data.denominator) == ("cifar10", CLASSES, None, "hits")
    assert data.fingerprint == fingerprint(data.train, data.query, data.database)
    assert data.fingerprint != load(folder.parent, tmp_path / "cache", seed=1).fingerprint


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("itself", [False, True])
def test_a_tar_is_the_folder(folder: Path, tmp_path: Path, suffix: str, itself: bool) -> None:
    name = "any.name" if itself else f"cifar10-jpeg.{suffix}"
    archive = write_tar(tmp_path / "other" / name, files(), PACKERS[suffix])
    expected = load(folder if itself else folder.parent, tmp_path / "a").fingerprint
    assert load(archive if itself else archive.parent, tmp_path / "b").fingerprint == expected


def test_ordinals_count_sorted_stems(folder: Path, tmp_path: Path) -> None:
    expected = load(folder.parent, tmp_path / "cache").fingerprint
    stems = ["a-1", "a-10", "a-2", "b", "c"]  # as strings sort, and before their suffix counts
    renamed = {f"{name[:-8]}{stems[int(name[-8:-4])]}.png": image for name, image in files().items()}
    renamed["train/cat/a.png"] = renamed.pop("train/cat/a-1.png")
    other = write_folder(tmp_path / "renamed", renamed)
    assert load(other, tmp_path / "cache").fingerprint == expected


@pytest.mark.parametrize(("file_format", "name"), [("JPEG", "cifar10-jpeg"), ("PNG", "cifar10-folder")])
def test_the_name_tells_re_encoded_images(tmp_path: Path, file_format: str, name: str) -> None:
    root = write_folder(tmp_path / "root", files(file_format))
    assert load(root, tmp_path / "cache").name == name
    assert load(root, tmp_path / "cache").name == name  # from the cache


@pytest.mark.parametrize("suffix", ["", ".tar", ".tar.xz"])
@pytest.mark.parametrize(
    ("called", "file_format", "name"),
    [
        ("cifar10-restored", "PNG", "cifar10-restored"),
        ("cifar10-v1.5", "PNG", "cifar10-v1.5"),
        ("cifar10-restored", "JPEG", "cifar10-restored-jpeg"),
        ("cifar10-jpeg75", "JPEG", "cifar10-jpeg75"),
        ("pictures", "PNG", "cifar10-folder"),
    ],
)
def test_a_variant_is_named_after_itself(tmp_path: Path, called: str, file_format: str, name: str, suffix: str) -> None:
    place = tmp_path / "root" / (called + suffix)
    content = files(file_format)
    if suffix:
        write_tar(place, content, PACKERS[suffix[1:]])
    else:
        write_folder(place, content)
    assert load(place, tmp_path / "cache").name == name
    if called != "pictures":
        assert load(place.parent, tmp_path / "cache").name == name


def test_of_several_variants_one_is_to_be_named(folder: Path, tmp_path: Path) -> None:
    write_tar(folder.parent / "cifar10-other.tar", files())
    message = refusal(folder.parent, tmp_path / "cache")
    assert "cifar10-jpeg, cifar10-other.tar; name one" in message
    assert load(folder, tmp_path / "cache").name == "cifar10-jpeg"


def test_one_other_file_is_enough_to_be_no_jpeg_set(tmp_path: Path) -> None:
    content = {**files("JPEG"), "train/cat/0000.jpg": files()["train/cat/0000.png"]}
    assert load(write_folder(tmp_path / "root", content), tmp_path / "cache").name == "cifar10-folder"


def test_nothing_is_written_beside_the_data(folder: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "packed" / "cifar10-jpeg.tar", files())
    before = sorted(tmp_path.rglob("*"))
    load(folder.parent, tmp_path / "cache")
    load(tmp_path / "packed", tmp_path / "cache")
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before


def test_a_missing_class_is_named(tmp_path: Path) -> None:
    content = {name: image for name, image in files().items() if not name.startswith("test/frog/")}
    assert "'test/frog' has 0 images, CIFAR-10 has 2" in refusal(write_folder(tmp_path / "r", content), tmp_path / "c")


@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_counts_are_named(tmp_path: Path, change: int) -> None:
    content = files()
    if change < 0:
        del content["train/ship/0003.png"]
    else:
        content["train/ship/0005.png"] = content["train/ship/0003.png"]
    archive = write_tar(tmp_path / "images.tar", content)
    assert f"'train/ship' has {5 + change} images, CIFAR-10 has 5" in refusal(archive, tmp_path / "c")


@pytest.mark.parametrize("group", ["train/lorry", "val/cat"])
def test_unknown_folders_are_named(folder: Path, tmp_path: Path, group: str) -> None:
    write_folder(folder, {f"{group}/0000.png": files()["train/cat/0000.png"]})
    assert f"{group!r} has 1 images, CIFAR-10 has 0" in refusal(folder, tmp_path / "c")


def test_unusable_images_are_named(folder: Path, tmp_path: Path) -> None:
    bad = folder / "train/deer/0002.png"
    bad.write_bytes(encoded(np.zeros((31, 32, 3), np.uint8), "PNG"))
    message = refusal(folder, tmp_path / "c")
    assert "'train/deer/0002.png'" in message
    assert "32x31 pixels; it must be 32x32" in message
    bad.write_bytes(b"no image")
    assert "'train/deer/0002.png'" in refusal(folder, tmp_path / "c")


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for root in (tmp_path, tmp_path / "nowhere"):
        message = refusal(root, tmp_path / "cache")
        for name in (
            str(root),
            "cifar-10-batches-py/",
            "cifar-10-python.tar.gz",
            "cifar10-<variant>.tar (",
            "data root",
        ):
            assert name in message


# --- the official archive ------------------------------------------------------------------------------------


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Official:
    """Writes the miniature in the official layout and teaches torchvision its check sums."""

    def write(root: Path) -> Path:
        folder = root / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for number in range(6):
            if number:  # one image of every class in a batch, in another order each time
                names = CLASSES[number:] + CLASSES[:number]
                keys = [f"train/{name}/{number - 1:04d}" for name in names]
            else:
                keys = [f"test/{name}/{i:04d}" for i in range(2) for name in CLASSES[::-1]]
            rows = np.stack([pixels(key).transpose(2, 0, 1).reshape(-1) for key in keys])
            batch = {"data": rows, "labels": [CLASSES.index(key.split("/")[1]) for key in keys]}
            (folder / (f"data_batch_{number}" if number else "test_batch")).write_bytes(pickle.dumps(batch))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
        trains = [f"data_batch_{number}" for number in range(1, 6)]
        monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(folder / name)] for name in trains])
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
        monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
        return folder

    return write


@pytest.fixture
def archive(official: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = official(tmp_path / "unpacked")
    path = tmp_path / "official" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as packed:
        packed.add(folder, folder.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(path))
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:1/" + path.name)  # nobody listens there
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return path


@pytest.fixture
def served(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive, which torchvision finds on a server of this machine."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=archive.parent)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        yield archive
        server.shutdown()


def booby_trap(path: Path, marker: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(marker),)

    path.write_bytes(pickle.dumps(Trap()))


@pytest.mark.parametrize("itself", [False, True])
def test_official_folder_is_read_in_place(official: Official, folder: Path, tmp_path: Path, itself: bool) -> None:
    root = official(tmp_path / "official")
    data = load(root if itself else root.parent, tmp_path / "cache")
    assert data.name == "cifar10"
    assert data.fingerprint == load(folder, tmp_path / "other").fingerprint
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unseen_classes_are_drawn_alike_from_official_and_other_images(
    official: Official, folder: Path, tmp_path: Path, seed: int
) -> None:
    root = official(tmp_path / "official").parent
    data, expected = (load_cifar_unseen(MINI, path, tmp_path / "cache", seed) for path in (root, folder))
    assert (data.name, data.fingerprint, data.facts) == ("cifar10", expected.fingerprint, expected.facts)


unpacks = pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 unpacks nothing safely")


def test_a_python_that_cannot_unpack_safely_says_so(archive: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(InputError, match="unpack it yourself"):
        load(archive, tmp_path / "cache")


@unpacks
@pytest.mark.parametrize("itself", [False, True])
def test_official_archive_is_unpacked_into_the_cache(archive: Path, folder: Path, tmp_path: Path, itself: bool) -> None:
    expected = load(folder, tmp_path / "other").fingerprint
    (left := tmp_path / "cache" / "cifar-10-batches-py.partial").mkdir(parents=True)
    (left / "data_batch_1").write_text("half, by a process that was killed")
    for _ in range(2):
        data = load(archive if itself else archive.parent, tmp_path / "cache")
        assert (data.name, data.fingerprint) == ("cifar10", expected)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cifar-10-batches-py"]


@unpacks
def test_official_images_go_before_others(archive: Path, tmp_path: Path) -> None:
    write_folder(archive.parent / "cifar10-jpeg", files("JPEG"))
    assert load(archive.parent, tmp_path / "cache").name == "cifar10"


@unpacks
def test_a_spoiled_unpacked_archive_is_unpacked_again(archive: Path, tmp_path: Path) -> None:
    expected = load(archive.parent, tmp_path / "cache").fingerprint
    booby_trap(tmp_path / "cache/cifar-10-batches-py/data_batch_2", tmp_path / "marker")
    assert load(archive.parent, tmp_path / "cache").fingerprint == expected
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_altered_official_folder_is_refused_unread(official: Official, tmp_path: Path, name: str) -> None:
    folder = official(tmp_path / "official")
    booby_trap(folder / name, tmp_path / "marker")
    assert "MD5" in refusal(folder.parent, tmp_path / "cache")
    (folder / name).unlink()
    assert "MD5" in refusal(folder.parent, tmp_path / "cache")
    assert not (tmp_path / "marker").exists()


def test_altered_official_archive_is_refused_unopened(archive: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked/cifar-10-batches-py"
    booby_trap(unpacked / "data_batch_1", tmp_path / "marker")
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(unpacked, unpacked.name)
    assert CIFAR10.tgz_md5 in refusal(archive.parent, tmp_path / "cache")
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "cache").exists()


@unpacks
def test_official_archive_needs_a_cache(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "DPQ_CACHE" in refusal(archive.parent, tmp_path / "file" / "cache")


@unpacks
def test_download_is_kept(served: Path, tmp_path: Path) -> None:
    expected = load(served.parent, tmp_path / "other").fingerprint
    data = load(None, tmp_path / "cache")
    assert (data.name, data.fingerprint) == ("cifar10", expected)
    (tmp_path / "cache" / served.name).unlink()
    served.unlink()
    assert load(None, tmp_path / "cache").fingerprint == expected


def test_altered_download_is_refused(served: Path, tmp_path: Path) -> None:
    served.write_bytes(served.read_bytes() + b"\0")
    assert "cannot download" in refusal(None, tmp_path / "cache")
    assert not (tmp_path / "cache" / "cifar-10-batches-py").exists()


def test_without_network_both_ways_out_are_named(archive: Path, tmp_path: Path) -> None:
    message = refusal(None, tmp_path / "cache")
    for words in ("go online", "data root", archive.name, "cifar10-<variant>/<split>/<class>/"):
        assert words in message


# --- through the registry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [True, False])
def test_default_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool) -> None:
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "chosen") if chosen else "")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    with pytest.raises(InputError, match="has 5 images, CIFAR-10 has 5000 there"):
        load_protocol("cifar10", folder)
    assert (tmp_path / "chosen").exists() == chosen
    assert (tmp_path / "user" / "dpq").exists() != chosen


def test_cache_argument_goes_before_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "chosen"))
    with pytest.raises(InputError):
        load_protocol("cifar10", folder, tmp_path / "given")
    assert [(tmp_path / name).exists() for name in ("given", "chosen")] == [True, False]


@pytest.mark.skipif(not os.environ.get("DPQ_DATA_ROOT"), reason="DPQ_DATA_ROOT names no real data")
def test_real_data(tmp_path: Path) -> None:
    data = load_protocol("cifar10", Path(os.environ["DPQ_DATA_ROOT"]), tmp_path / "cache")
    parts = ((data.train, 500), (data.query, 100), (data.database, 5400))
    for split, count in parts:
        assert split.images.shape == (10 * count, 3, 32, 32)
        assert split.labels.sum(dim=0).tolist() == [count] * 10
    # No two images of CIFAR-10 have the same pixels.
    assert len({image.numpy().tobytes() for split, _ in parts for image in split.images}) == 60_000


def test_what_is_known_of_a_variant_is_said_of_it_alone(tmp_path):
    restored = load(write_folder(tmp_path / "cifar10-restored", files()), tmp_path / "cache")
    assert restored.facts == {"re_encoded": {"horse": 6, "ship": 105}}
    assert load(write_folder(tmp_path / "cifar10-other", files()), tmp_path / "cache").facts == {}


# --- names of images ------------------------------------------------------------------------------------------


def test_images_of_a_tree_are_named_by_their_paths(folder: Path, tmp_path: Path) -> None:
    data = load(folder, tmp_path / "cache")
    for split in (data.train, data.query, data.database):
        assert split.names == tuple(f"{key}.png" for key in keys_of(split))
    unseen = load_cifar_unseen(MINI, folder, tmp_path / "cache")
    for split in (unseen.train, unseen.query, unseen.database):
        assert split.names == tuple(f"{key}.png" for key in keys_of(split))


def test_images_of_the_archive_are_named_as_torchvision_counts_them(official: Official, tmp_path: Path) -> None:
    root = official(tmp_path / "official").parent
    theirs = {split: CIFAR10(root, train=split == "train").data for split in PER_SPLIT}
    data = load(root, tmp_path / "cache")
    named = [name for split in (data.train, data.query, data.database) for name in split.names or ()]
    assert len(set(named)) == len(KEYS)
    for split in (data.train, data.query, data.database):
        for image, name in zip(split.images[:], split.names or (), strict=True):
            part, _, position = name.partition("/")
            assert np.array_equal(image.permute(1, 2, 0).numpy(), theirs[part][int(position)])
