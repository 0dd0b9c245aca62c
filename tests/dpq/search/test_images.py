import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dpq import DPQ, InputError
from dpq.inputs.images import list_images
from dpq.search.file import Origin
from dpq.search.images import ImageIndex, load_named, name_of, save_named
from dpq.search.index import CodeIndex


def fill(folder, numbers):
    """Images of three colours, in class folders."""
    random = np.random.default_rng(0)
    for number in range(max(numbers) + 1):
        colour, noise = np.eye(3)[number % 3] * 180, random.integers(0, 60, (20, 24, 3))
        if number in numbers:
            (folder / "rgb"[number % 3]).mkdir(parents=True, exist_ok=True)
            Image.fromarray((colour + noise).astype(np.uint8)).save(folder / "rgb"[number % 3] / f"{number:02}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with photos and a model of them."""
    root = tmp_path_factory.mktemp("trained")
    fill(root / "photos", range(48))
    small = dict(weights=None, bits=8, codebook_size=16, embedding_dim=8, image_size=32, epochs=2, batch_size=16)
    DPQ("test_resnet", device="cpu", **small).fit(root / "photos").save(root / "model")
    return root


@pytest.fixture
def place(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def index(place):
    return ImageIndex.build(place / "model", place / "photos", device="cpu")


def names(index, found):
    return [[index.codes.names[row] for row in rows] for rows in found.rows]


def test_all_images_of_a_folder_are_coded_by_the_model(index, place):
    model = DPQ.from_pretrained(place / "model", device="cpu")
    assert len(index.codes) == 48 and index.codes.names[0] == "b/02.png"
    assert torch.equal(index.codes.codes, model.encode(place / "photos"))
    query = place / "photos/r/03.png"
    scores = model.embed(query) @ model.decode(index.codes.codes).T
    found = index.search([query], 5)
    np.testing.assert_allclose(found.scores[0], scores[0].topk(5).values, rtol=1e-4)
    short = ImageIndex.build(place / "model", place / "photos", bits=4, score="l2", device="cpu")
    assert (short.codes.bits, short.codes.score) == (4, "l2")
    assert np.array_equal(index.codes.prefix(4).codes, short.codes.codes)
    assert index.search([query], 5, bits=4).ids.shape == (1, 5)


def test_a_file_finds_model_and_images_wherever_all_of_them_move(index, place, tmp_path):
    index.save(place / "photos.index")
    place.rename(tmp_path / "moved")
    read = ImageIndex.load(tmp_path / "moved/photos.index", device="cpu")
    query = tmp_path / "moved/photos/g/04.png"
    assert read.folder == tmp_path / "moved/photos"
    assert np.array_equal(read.search([query]).ids, index.search([query]).ids)


def test_model_and_images_that_moved_alone_are_named(index, place, tmp_path):
    index.save(place / "photos.index")
    (place / "model").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be used as a saved model"):
        ImageIndex.load(place / "photos.index")
    read = ImageIndex.load(place / "photos.index", model=tmp_path / "elsewhere", folder=tmp_path, device="cpu")
    assert read.folder == tmp_path
    other = DPQ.from_pretrained(tmp_path / "elsewhere", device="cpu")
    other.method.codebooks.data.add_(1)
    other.save(tmp_path / "other")
    with pytest.raises(InputError, match="is another model"):
        ImageIndex.load(place / "photos.index", model=tmp_path / "other")


def test_what_is_new_in_the_folder_is_added(index, place):
    before = index.codes.codes.clone()
    assert index.add() == []
    fill(place / "photos", range(48, 53))
    assert index.add([place / "photos/r/48.png"]) == ["r/48.png"]
    assert sorted(index.add()) == ["b/50.png", "g/49.png", "g/52.png", "r/51.png"]
    assert torch.equal(index.codes.codes[:48], before)
    assert index.codes.ids.tolist() == list(range(53))
    (found,) = names(index, index.search([place / "photos/g/52.png"], 53))
    assert set(found) == set(index.codes.names)


def test_what_cannot_be_added_changes_nothing(index, place, tmp_path):
    (place / "photos/r/spoiled.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    for files, words in (
        (None, r"spoiled\.png cannot be used"),
        ([place / "photos/r/00.png"], r"r/00\.png is in the index already"),
        ([tmp_path / "outside.png"], "move it there first"),
        ([place / "photos/r/gone.png"], "missing"),
    ):
        with pytest.raises(InputError, match=words):
            index.add(files)
        assert len(index.codes) == 48


def test_images_are_removed_by_name_or_path(index, place, monkeypatch):
    index.save(place / "photos.index")
    codes = load_named(place / "photos.index")
    (place / "photos/r/00.png").unlink()
    monkeypatch.chdir(place)
    assert [name_of(file, codes) for file in ("r/03.png", "photos/r/00.png")] == ["r/03.png", "r/00.png"]
    codes.remove(codes.ids_of(["r/03.png", "r/00.png"]))
    save_named(codes, "photos.index")
    assert len(ImageIndex.load(place / "photos.index", device="cpu").codes) == 46


@pytest.mark.skipif(os.name == "nt", reason="a link needs rights there")
def test_a_linked_folder_is_the_folder(index, place, tmp_path):
    (tmp_path / "link").symlink_to(place / "photos")
    fill(place / "photos", [48])
    assert index.add([tmp_path / "link/r/48.png"]) == ["r/48.png"]


def test_other_indices_are_refused(index, place):
    whole = index.codes
    plain = CodeIndex(whole.codes, whole.codebooks)
    climbing = CodeIndex(
        whole.codes[:1], whole.codebooks, names=["../../secret.png"], origin=Origin("model", "a" * 64, "photos")
    )
    for one, words in ((plain, "no index of image files"), (climbing, "outside of their folder")):
        one.save(place / "other.index")
        with pytest.raises(InputError, match=words):
            ImageIndex.load(place / "other.index")


def test_a_large_set_is_divided(place):
    index = ImageIndex.build(place / "model", place / "photos", lists=3, device="cpu")
    index.save(place / "photos.index")
    read = ImageIndex.load(place / "photos.index", device="cpu")
    query = place / "photos/r/00.png"
    assert np.array_equal(read.search([query], probes=1).ids, index.search([query], probes=1).ids)
    assert len(names(read, read.search([query], 48))[0]) == 48


def test_images_in_a_linked_folder_are_named_by_where_the_link_lies(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere/a.png").touch()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    folder = (tmp_path / "photos").resolve()
    (file,) = list_images(folder)
    index = SimpleNamespace(names=(), origin=Origin(images=str(folder)))
    assert name_of(file, index) == "linked/a.png"
    with pytest.raises(InputError, match="is not in"):
        name_of(folder / "../elsewhere/a.png", index)
