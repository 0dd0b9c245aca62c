import csv
import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.brought import lists
from benchmarks.brought.lists import ImageList, write_lists
from dpq import InputError
from dpq.protocols import load_protocol
from tests.benchmarks.brought.conftest import CLASSES
from tests.dpq.protocols.own_images import write_classes


def lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_line_says_position_index_digest_and_labels(dataset):
    (first, *others) = csv.reader(io.StringIO(ImageList.of(dataset, "query").text))
    assert first == ["position", "index", "sha256_of_pixels", "labels"]
    for position, line in enumerate(others):
        pixels = dataset.query.images[position].numpy()
        labels = [name for name, there in zip(CLASSES, dataset.query.labels[position], strict=True) if there]
        assert line == [str(position), f"q/{position}", hashlib.sha256(pixels.tobytes()).hexdigest(), "|".join(labels)]
    assert len(others) == 7


def test_without_an_index_there_is_the_digest_alone(dataset):
    bare = replace(dataset, query=replace(dataset.query, names=None))
    assert ImageList.of(bare, "query").text.startswith("position,sha256_of_pixels,labels\n0,")


def test_unseen_classes_have_their_own_names(dataset):
    unseen = replace(dataset, unseen=True, facts={"unseen": ["x", "y", "z"]})
    assert set("".join(ImageList.of(unseen, "query").labels)) <= set("xyz|")
    assert set("".join(ImageList.of(unseen, "train").labels)) <= set("abc|")


@pytest.mark.parametrize("column", ["names", "digests"])
def test_another_order_is_mapped(dataset, column):
    listed = ImageList.of(dataset, "database")
    order = np.random.default_rng(0).permutation(30)
    rows = listed.rows(np.array(getattr(listed, column))[order])
    assert np.array_equal(order[rows], np.arange(30))
    assert np.array_equal(listed.rows(np.array(getattr(listed, column), "S")), np.arange(30))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids: ids[:-1], "the database image of index d/29 is missing"),
        (lambda ids: [*ids, ids[3]], "the database image of index d/3 is there 2 times"),
        (lambda ids: [*ids[:-1], ids[3]], "the database image of index d/3 is there 2 times"),
        (lambda ids: [*ids, "d/30"], "the id 'd/30' is of no database image"),
        (lambda ids: ["q/0"] * 30, "no id of the database images is an index or digest of database.csv"),
        (lambda ids: range(30), "the first is '0'"),
    ],
)
def test_missing_double_and_foreign_images_are_named(dataset, change, words):
    listed = ImageList.of(dataset, "database")
    with pytest.raises(InputError, match=words):
        listed.rows(np.array(list(change(list(listed.names)))))


def test_digests_that_two_images_have_name_neither(dataset):
    listed = ImageList.of(dataset, "query")
    twice = replace(listed, digests=(*listed.digests[:-1], listed.digests[0]))
    with pytest.raises(InputError, match=r"2 query images have the digest .*; name images by the other column"):
        twice.rows(np.array(twice.digests))
    assert np.array_equal(twice.rows(np.array(twice.names)), np.arange(7))


def test_the_index_of_digits_is_that_of_the_bundle(tmp_path):
    paths = write_lists(load_protocol("digits", split_seed=1), tmp_path / "lists")
    assert [path.name for path in paths] == ["train.csv", "query.csv", "database.csv"]
    bundle, seen = load_digits(), []
    for path in paths:
        for position, line in enumerate(lines(path)):
            index = int(line["index"])
            seen.append(index)
            grey = np.rint(bundle.images[index] * (255 / 16)).astype(np.uint8)
            assert line["sha256_of_pixels"] == hashlib.sha256(np.stack([grey] * 3).tobytes()).hexdigest()
            assert (line["position"], line["labels"]) == (str(position), str(bundle.target[index]))
    assert len(seen) == len(set(seen)) == 300 + 200 + 1097


def test_the_index_of_a_folder_is_the_path_and_the_digest_that_of_the_file(tmp_path):
    folder = write_classes(tmp_path / "photos")
    dataset = load_protocol("folder", folder, tmp_path / "cache")
    for path in write_lists(dataset, tmp_path / "lists"):
        found = lines(path)
        assert found
        for line in found:
            image = folder / line["index"]
            assert line["sha256_of_file"] == hashlib.sha256(image.read_bytes()).hexdigest()
            assert image.parent.name == line["labels"]
            with Image.open(image):
                pass


def test_a_name_that_is_no_utf8_can_be_written(dataset):
    odd = replace(dataset.query, names=("\udcff.png", *dataset.query.names[1:]))
    listed = ImageList.of(replace(dataset, query=odd), "query")
    assert listed.names[0] == "\\udcff.png"
    listed.text.encode()


def test_no_list_is_written_before_all_are_made(dataset, tmp_path, monkeypatch):
    whole = ImageList.of

    def failing(data, split):
        if split == "database":
            raise InputError("gone")
        return whole(data, split)

    monkeypatch.setattr(lists.ImageList, "of", failing)
    with pytest.raises(InputError, match="gone"):
        write_lists(dataset, tmp_path / "lists")
    assert not (tmp_path / "lists").exists()
