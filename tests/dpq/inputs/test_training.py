from __future__ import annotations

import tempfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dpq import InputError
from dpq.inputs.images import LeftOut
from dpq.inputs.training import keep_images, read_labels, training_split
from dpq.protocols.store.read import StoredImages
from tests.dpq.protocols.own_images import write_manifest

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), np.uint8)


class Pairs(Dataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("in_memory", [0, 100, PIXELS.nbytes - 1])
def test_on_disk_as_in_memory(temporary, in_memory):
    stored = keep_images(iter(PIXELS), 4, in_memory=in_memory)
    tensor = keep_images(iter(PIXELS), 4, in_memory=PIXELS.nbytes)
    assert isinstance(stored, StoredImages)
    assert isinstance(tensor, torch.Tensor)
    assert (stored.shape, stored.dtype, len(stored)) == (tensor.shape, tensor.dtype, 6)
    rows = torch.tensor([5, 0, 5])
    for choice in (slice(None), slice(1, 3), rows):
        assert torch.equal(stored[choice], tensor[choice])
    assert torch.equal(tensor, torch.from_numpy(PIXELS))
    assert not list(temporary.iterdir())  # nothing that a killed process could leave behind


def test_threads_read_one_file(temporary):
    stored = keep_images(iter(PIXELS), 4, in_memory=0)
    with ThreadPoolExecutor(8) as threads:
        for row, read in enumerate(threads.map(lambda row: stored[row % 6 : row % 6 + 1], range(600))):
            assert torch.equal(read[0], torch.from_numpy(PIXELS[row % 6]))


def test_what_is_kept_is_a_copy():
    pixels = PIXELS.copy()
    kept = keep_images(iter(pixels), 4)
    pixels[:] = 0
    assert torch.equal(kept, torch.from_numpy(PIXELS))


def test_nothing_to_keep():
    with pytest.raises(InputError, match="there are no images"):
        keep_images([], 4)


def test_a_full_disk_is_told(monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b"))  # noqa: SIM115
    with pytest.raises(InputError, match=r"No space left on device.*TMPDIR"):
        keep_images(iter(PIXELS), 4, in_memory=0)


def test_no_temporary_folder(temporary):
    temporary.rmdir()
    with pytest.raises(InputError, match=r"the temporary folder.*TMPDIR"):
        keep_images(iter(PIXELS), 4, in_memory=0)


@pytest.mark.parametrize(
    ("labels", "classes", "names", "columns"),
    [
        (["b", "a", "b"], None, ("a", "b"), [1, 0, 1]),
        (["b", "a", "b"], ["b", "c", "a"], ("b", "c", "a"), [0, 2, 0]),
        (np.array(["b", "a"]), None, ("a", "b"), [1, 0]),
        ([10, 9, 10], None, ("9", "10"), [1, 0, 1]),
        (torch.tensor([2, 0], dtype=torch.uint8), ["x", "y", "z"], ("x", "y", "z"), [2, 0]),
        (np.eye(3, dtype=bool)[[2, 1]], None, ("0", "1", "2"), [2, 1]),
    ],
)
def test_labels_of_every_form(labels, classes, names, columns):
    read = read_labels(labels, classes)
    assert read.classes == names
    assert read.matrix.int().tolist() == np.eye(len(names), dtype=int)[columns].tolist()
    assert not read.several


def test_however_accents_are_composed_a_name_is_the_same():
    one, other = (unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD"))
    read = read_labels([one, other, "ant"])
    assert (read.classes, read.matrix.sum(dim=0).tolist()) == ((one, "ant"), [2, 1])
    assert read_labels(["ant", one], classes=["ant", other]).classes == ("ant", one)
    with pytest.raises(InputError, match="of different names"):
        read_labels([0, 1], classes=[one, other])


def split_of(images, labels=None, classes=None, *, allowed=0):
    left_out = LeftOut(allowed)
    return training_split(images, labels, classes, side=8, workers=0, left_out=left_out)


@pytest.fixture
def own(tmp_path):
    """A folder whose manifest says its splits, with an image of two labels."""
    lines = (
        "b.jpg,bee,train",
        "a.jpg,ant|bee,train",
        "c.jpg,ant,query",
        "d.jpg,bee,database",
        "e.jpg,ant,train|database",
    )
    return write_manifest(tmp_path / "own", *lines)


def test_a_manifest_brings_several_labels(own):
    split, read = split_of(own)
    assert read.several and read.classes == ("ant", "bee")
    assert split.labels.tolist() == [[True, True], [False, True], [True, False]]
    _, read = split_of(own, classes=("cow", "bee", "ant"))
    assert read.matrix.int().tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(InputError, match="label 'bee' is not among the classes 'ant', 'cow'"):
        split_of(own, classes=("ant", "cow"))


def test_images_that_are_left_out_take_their_labels_along(own):
    files, labels = [own / f"{name}.jpg" for name in "abcde"], ["x", "y", "x", "y", "x"]
    (own / "b.jpg").write_bytes(b"no image")
    files[2] = own / "gone.jpg"
    for images in (files, iter(files), Pairs(list(zip(files, labels, strict=True)))):
        given = None if isinstance(images, Pairs) else labels
        split, read = split_of(images, given, allowed=2)
        assert (len(split), read.classes) == (3, ("x", "y"))
        assert split.labels.int().tolist() == read.matrix.int().tolist() == [[1, 0], [0, 1], [1, 0]]
    with pytest.raises(InputError, match=r"2 images cannot be used: .*gone.jpg \(missing\).*allow_missing=2"):
        split_of(files, labels, allowed=1)
    with pytest.raises(InputError, match="there are 5 images but 4 labels"):
        split_of(files, labels[:4], allowed=2)
    with pytest.raises(InputError, match="no image that can be used is left of the classes 'y'"):
        split_of(files, ["x", "y", "y", "x", "x"], allowed=2)


def test_several_labels():
    assert read_labels(torch.tensor([[True, True], [True, False]])).several


@pytest.mark.parametrize(
    ("labels", "classes", "why"),
    [
        ([0.5, 1.0], None, "class names, integers or a boolean matrix"),
        ([[0, 1], [1, 0]], None, r"got int64 \[2, 2\]"),
        (["a", None], None, "class names, integers"),
        (["a", "a"], None, "at least two classes of different names apart; got 'a'"),
        ([], None, "class names, integers"),
        ([["a"], ["a", "b"]], None, r"labels differ in form; .* a boolean matrix \[N, L\]"),
        (object(), None, "class names, integers"),
        ({"a", "b"}, None, "class names, integers"),
        (["a", "b"], ["a", "c"], "label 'b' is not among the classes 'a', 'c'"),
        ([0, 2], ["a", "b"], "integer labels of 2 classes are 0 to 1; got 0 to 2"),
        ([-1, 1], ["a", "b"], "got -1 to 1"),
        ([0, 1], ["a", "a"], "of different names"),
        (["a", "\udcff"], None, "that UTF-8 can hold"),
        (np.eye(2, dtype=bool), ["a"], "has 2 columns, but there are 1 classes"),
        (np.array([[True, False], [False, False]]), None, "1 images have no label, the first is image 1"),
    ],
)
def test_labels_that_cannot_be_used(labels, classes, why):
    with pytest.raises(InputError, match=why):
        read_labels(labels, classes)
