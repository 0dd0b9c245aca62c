"""Every layout of a folder through every command that takes one: it is read as everywhere, or refused in one line."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.__main__ import main as benchmarks
from dpq.__main__ import main as library
from dpq.method.saved import read_config
from dpq.search.index import CodeIndex
from tests.benchmarks.conftest import TINY
from tests.dpq.protocols.gallery import encoded, photo, write_files
from tests.dpq.protocols.own_images import write_classes, write_manifest, write_splits

SMALL = "--backbone test_resnet --weights none --bits 4 --codebook-size 4 --embedding-dim 8 --image-size 24 --epochs 1"
CLASSES = ("ant", "bee", "cow")
GIF = encoded(photo(1), "GIF")


@dataclass(frozen=True)
class Layout:
    """What each command is to make of a folder: words of its one line where it refuses, else what it finds."""

    make: Callable[[Path], object]  # fills the folder; 10 images each of ant, bee and cow are there already
    train: str | int = 30  # images, or words
    check: str = ""  # words on stdout or stderr; fit where there are none
    build: str | int = 30
    classes: tuple[str, ...] = CLASSES
    warned: str = ""  # words of a warning that `index build` gives


def clear(root):
    for path in sorted(root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def link(root, name, target):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(target)


def outside(root, count=10):
    """A folder beside it with more images."""
    return write_files(root.parent / "outside", {f"{i}.jpg": encoded(photo(5000 + i)) for i in range(count)})


def linked_files(root):
    for path in outside(root).iterdir():
        link(root, f"dog/{path.name}", path)


def two_spellings(root):
    clear(root)
    write_classes(root, ("ant", unicodedata.normalize("NFC", "Bär"), unicodedata.normalize("NFD", "Bär")), each=10)


def splits(root):
    clear(root)
    write_splits(root, each=8)


def manifest(root, more=()):
    names = [path.relative_to(root).as_posix() for path in sorted(root.glob("*/*.jpg"))]
    lines = [f"{name},{name[:3]},{'query' if '/00' in name else 'train'}" for name in names]
    write_manifest(root, *lines, "#tag/1.jpg,ant,database", "cow/#2.jpg,cow,train", *more)


def unreadable(root):
    """A folder of this name cannot be read: the tests may be run by somebody who may read everything."""
    write_files(root, {"locked/a.jpg": encoded(photo(1))})


LAYOUTS = {
    "class folders": Layout(lambda root: None),
    "a class that is a link": Layout(
        lambda root: link(root, "dog", outside(root)), 40, build=40, classes=(*CLASSES, "dog")
    ),
    "a class of links": Layout(linked_files, 40, build=40, classes=(*CLASSES, "dog")),
    "a link that leads back into the folder": Layout(
        lambda root: (
            write_files(root, {".shelf/a.jpg": encoded(photo(1))}),
            link(root, "ant/l.jpg", "../.shelf/a.jpg"),
        ),
        31,
        build=31,
    ),
    "a class that is a link to nowhere": Layout(
        lambda root: link(root, "dog", "/nowhere"), "dog leads nowhere; mend it", "leads nowhere", "leads nowhere"
    ),
    "a class that is a link to itself": Layout(
        lambda root: link(root, "dog", "dog"), "cannot be followed", "cannot be followed", "cannot be followed"
    ),
    "a class of links to nowhere": Layout(
        lambda root: [link(root, f"dog/{i}.jpg", "/nowhere") for i in range(4)],
        "4 images cannot be used",
        "missing: 4\n",
        "or go on without them with allow_missing=4; on the command line: --allow-missing 4",
    ),
    "an image that is a link to itself": Layout(
        lambda root: link(root, "ant/l.jpg", "l.jpg"),
        "ant/l.jpg cannot be used",
        "unreadable: 1",
        "l.jpg cannot be used",
    ),
    "a link to a folder that it lies in": Layout(
        lambda root: link(root, "dog/up", root),
        "dog/up in",
        "is a folder inside a class",
        "is a link to a folder that it",
    ),
    "a folder that cannot be read": Layout(
        unreadable, "locked: Permission denied", "Permission denied", "Permission denied"
    ),
    "a class of GIF": Layout(
        lambda root: write_files(root, {"dog/a.gif": GIF, "eel/b.gif": GIF}),
        "the class folders 'dog', 'eel' in",
        "hold no images, files that end in .bmp",
        warned="folders without images, passed over (2): 'dog', 'eel'",
    ),
    "an empty class": Layout(
        lambda root: (root / "dog").mkdir(),
        "the class folder 'dog' in",
        "holds no images",
        warned="folders without images, passed over (1): 'dog'",
    ),
    "other files": Layout(
        lambda root: write_files(root, {"ant/a.gif": GIF, "top.txt": b""}),
        warned="no images and passed over: 'ant/a.gif', 'top.txt'",
    ),
    "other endings of JPEG": Layout(
        lambda root: write_files(
            root, {f"dog/{i}.{end}": encoded(photo(i)) for i, end in enumerate(("jfif", "JPE", "jpeg"))}
        ),
        33,
        build=33,
        classes=(*CLASSES, "dog"),
    ),
    "a folder inside a class": Layout(
        lambda root: write_files(root, {"ant/more/a.jpg": encoded(photo(1))}),
        "is a folder inside a class",
        "is a folder inside a class",
        31,
    ),
    "two spellings of a name": Layout(two_spellings, classes=("Bär", "ant")),
    "splits": Layout(splits, 16, build=48, classes=("ant", "bee")),
    "splits of which one lacks a class": Layout(
        lambda root: (splits(root), write_files(root, {"query/cow/a.jpg": encoded(photo(9999))})),
        "has labels of no training image: 'cow'",
        "labels of no training image",
        49,
    ),
    "a manifest": Layout(manifest, 28, build=32),
    "a manifest of links that lead out": Layout(
        lambda root: (link(root, "l.jpg", outside(root) / "0.jpg"), manifest(root, ["l.jpg,ant,train"])), 29, build=33
    ),
    "a manifest of what is missing": Layout(
        lambda root: manifest(root, ["../gone.jpg,ant,train"]),
        "path '../gone.jpg' names no file below the data root",
        "names no file below",
        32,
    ),
    "nothing": Layout(clear, "holds no class folders with images", "holds no class folders", "no image in"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("model")
    write_classes(root / "photos", each=10)
    assert library(["train", str(root / "photos"), "--output", str(root / "model"), *SMALL.split()]) == 0
    return root / "model"


@pytest.fixture
def place(tmp_path, monkeypatch, configs):
    """A folder with `photos`; the folder `locked` in it cannot be read."""
    (configs / "own.toml").write_text(TINY.replace('"digits"', '"folder"'))
    write_classes(tmp_path / "photos", each=10)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr("dpq.protocols.image_files.os.scandir", refusing)
    return tmp_path


def refused(status, capsys, words):
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert words in error


@pytest.mark.parametrize("name", LAYOUTS)
def test_training(place, capsys, caplog, monkeypatch, name):
    layout, seen = LAYOUTS[name], []
    layout.make(place / "photos")
    monkeypatch.setattr("dpq.method.dpq.DPQMethod.fit", lambda self, split, *_: seen.append(split))
    with caplog.at_level("INFO"):
        status = library(["train", "photos", "--output", "model", *SMALL.split()])
    if isinstance(layout.train, str):
        refused(status, capsys, layout.train)
        assert not Path("model").exists()
        return
    assert status == 0
    assert len(seen[0]) == layout.train
    assert seen[0].labels.any(dim=0).all()
    assert read_config(Path("model")).classes == layout.classes
    said = f"photos says its splits: training on the {layout.train} images of train alone"
    assert (said in caplog.text) == (name.startswith(("splits", "a manifest")))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_check(place, capsys, name):
    layout = LAYOUTS[name]
    layout.make(place / "photos")
    status = benchmarks(["check-data", "folder", "--data-root", "photos", "--workers", "1"])
    printed = capsys.readouterr()
    assert status == (2 if layout.check else 0), printed
    assert (layout.check or f"images of {len(layout.classes)} classes") in printed.out + printed.err
    if layout.check:
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_index(place, model, capsys, caplog, name):
    layout = LAYOUTS[name]
    before = write_files(place / "photos", {"ant/first.jpg": encoded(photo(77))})
    assert library(["index", "build", str(model), "photos", "--output", "photos.index"]) == 0
    (before / "ant/first.jpg").unlink()
    capsys.readouterr()
    caplog.clear()
    layout.make(place / "photos")
    build = library(["index", "build", str(model), "photos", "--output", "new.index"])
    if isinstance(layout.build, str):
        refused(build, capsys, layout.build)
        assert not Path("new.index").exists()
        refused(library(["index", "add", "photos.index"]), capsys, layout.build)
        assert len(CodeIndex.load("photos.index")) == 31
        return
    assert build == 0
    assert len(CodeIndex.load("new.index")) == layout.build
    assert layout.warned in caplog.text
    if not layout.warned:
        assert "passed over" not in caplog.text.replace("passed over: 'manifest.csv'", "")
    assert library(["index", "add", "photos.index"]) == 0
    names = set(CodeIndex.load("new.index").names)
    assert set(CodeIndex.load("photos.index").names) >= names
    assert caplog.text.count(layout.warned or "never") == 2 * bool(layout.warned)


def test_as_many_images_as_is_said_may_be_missing(place, model, capsys, caplog):
    write_files(place / "photos", {"cow/zz.jpg": encoded(photo(1))[:200]})
    link(place / "photos", "ant/gone.jpg", "/nowhere")
    for command in (f"train photos --output model {SMALL}", f"index build {model} photos --output photos.index"):
        refused(
            library(command.split()), capsys, "ant/gone.jpg cannot be used: missing; mend it or leave it out, or go"
        )
        refused(library([*command.split(), "--allow-missing", "1"]), capsys, "on the command line: --allow-missing 2")
        caplog.clear()
        assert library([*command.split(), "--allow-missing", "2"]) == 0
        left = [line for line in caplog.messages if line.startswith("left out, as it cannot be used: ")]
        assert len(left) == 2
        assert "ant/gone.jpg (missing)" in left[0] and "cow/zz.jpg (unreadable: " in left[1]
        capsys.readouterr()
    index = CodeIndex.load("photos.index")
    assert len(index) == 30 and {"ant/gone.jpg", "cow/zz.jpg"}.isdisjoint(index.names)
    write_files(place / "photos", {"cow/zzz.jpg": encoded(photo(2))})
    assert library(["index", "add", "photos.index", "--allow-missing", "2"]) == 0
    assert CodeIndex.load("photos.index").names[-1] == "cow/zzz.jpg"


def test_no_class_is_lost_with_its_images(place, capsys):
    for path in (place / "photos/bee").iterdir():
        path.write_bytes(b"")
    command = f"train photos --output model --allow-missing 30 {SMALL}"
    refused(library(command.split()), capsys, "no image that can be used is left of the classes 'bee'")


def test_answers_from_folders_of_splits_are_marked_by_their_classes(place, model, monkeypatch):
    splits(place / "photos")
    assert library(["index", "build", str(model), "photos", "--output", "photos.index"]) == 0
    drawn = []
    monkeypatch.setattr("dpq.cli.commands.picture_grid", lambda rows: drawn.extend(rows) or b"")
    query = "photos/query/ant/0.jpg"
    assert library(["index", "search", "photos.index", query, "--k", "48", "--grid", "answers.png"]) == 0
    ((asked, answers),) = drawn
    assert asked.caption == "ant"
    assert {answer.caption for answer in answers} == {"ant", "bee"}
    assert all(answer.wrong == (answer.caption == "bee") for answer in answers)
