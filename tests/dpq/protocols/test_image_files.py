"""One rule says what in a folder is an image, whoever reads it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpq.errors import InputError
from dpq.inputs.images import list_images
from dpq.protocols.archives import Bounds, tar_files
from dpq.protocols.folder.class_folders import read_class_folders
from dpq.protocols.image_files import Folder, Tree, is_image, read_folder, walk_images
from dpq.protocols.image_tree import read_image_tree

FILES = ["1.png", "2.JPEG", ".3.png", "notes.txt", "4.gif", "none"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`<split>/<class>/<file>` with all kinds of files in each class, some of it reached by links."""
    for group in ("a/x", "a/y", "elsewhere/x", ".hidden/x"):
        place = tmp_path / ("outside" if group.startswith("elsewhere") else "root") / group
        place.mkdir(parents=True)
        for name in FILES:
            Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(place / name, "PNG")
    (tmp_path / "root/b").symlink_to(tmp_path / "outside/elsewhere")
    (tmp_path / "root/a/y/linked.png").symlink_to(tmp_path / "outside/elsewhere/x/1.png")
    return tmp_path / "root"


def test_a_folder_has_folders_images_and_others(folder: Path) -> None:
    assert read_folder(folder) == Folder(["a", "b"], [], [])
    assert read_folder(folder / "a/y") == Folder([], ["1.png", "2.JPEG", "linked.png"], ["4.gif", "none", "notes.txt"])


def test_every_reader_finds_the_same_images_in_the_same_order(folder: Path, tmp_path: Path) -> None:
    expected = ["a/x/1.png", "a/x/2.JPEG", "a/y/1.png", "a/y/2.JPEG", "a/y/linked.png", "b/x/1.png", "b/x/2.JPEG"]
    assert walk_images(folder).images == expected
    assert [path.relative_to(folder).as_posix() for path in list_images(folder)] == expected
    assert list(read_image_tree(folder, (2, 2), tmp_path / "cache").names) == expected
    with tarfile.open(tmp_path / "packed.tar", "w") as packed:
        for path in sorted(folder.glob("*/*/*")):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size = path.stat().st_size
            packed.addfile(info, io.BytesIO(path.read_bytes()))
    assert sorted(name for name, _ in tar_files(tmp_path / "packed.tar", Bounds())) == expected
    assert [entry.path for entry in read_class_folders(folder / "a")[0]] == [
        name.removeprefix("a/") for name in expected if name.startswith("a/")
    ]


def test_the_order_is_part_by_part(tmp_path: Path) -> None:
    for name in ("a-b/1.png", "a/1.png", "a.png", "a/b/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a-b/c/d").mkdir(parents=True)
    (tmp_path / "a/c").mkdir()
    (tmp_path / "a/c/1.gif").touch()
    images = ["a/1.png", "a/b/0.png", "a-b/1.png", "a.png"]
    assert walk_images(tmp_path) == Tree(images, others=["a/c/1.gif"], barren=["a/c", "a-b/c"])


def test_a_folder_that_holds_itself_is_refused(folder: Path) -> None:
    (folder / "a/up").symlink_to(folder)
    with pytest.raises(InputError, match=r"'a/up/' is a link to a folder that it lies in; mend that"):
        list_images(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "a").chmod(0)
    with pytest.raises(InputError, match="cannot read the folder"):
        list_images(folder)
    (folder / "a").chmod(0o700)


@pytest.mark.parametrize(("name", "expected"), [("a/b.PNG", True), ("b.txt", False), (".a/b.png", False), ("a", False)])
def test_suffix_and_hidden_parts_decide(name: str, expected: bool) -> None:
    assert is_image(name) == expected
