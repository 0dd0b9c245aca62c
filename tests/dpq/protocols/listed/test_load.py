import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dpq import InputError
from dpq.learning.backbone import Backbone
from dpq.learning.settings import TrainingConfig
from dpq.method.dpq import DPQMethod
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.protocols import ReadOptions, Split, load_protocol
from dpq.protocols.listed.imagenet import list_imagenet100
from dpq.protocols.listed.load import find_copy
from dpq.protocols.listed.nuswide import list_nuswide21
from tests.dpq.conftest import BACKBONE
from tests.dpq.protocols.miniatures import (
    IMAGENET_SIZES,
    NUSWIDE_SIZES,
    write_lines,
    write_mini_imagenet,
    write_mini_nuswide,
)

OPTIONS = ReadOptions(side=16, allow_missing=10**6, workers=0)


@pytest.fixture
def nuswide(tmp_path):
    write_mini_nuswide(tmp_path / "nuswide")
    return tmp_path / "nuswide"


@pytest.fixture
def load(tmp_path):
    return lambda protocol, root, options=OPTIONS: load_protocol(protocol, root, tmp_path / "cache", options)


def rows_of(split):
    """Each image's pixels and labels, as something that can be compared and sorted."""
    return [
        (image.numpy().tobytes(), tuple(row)) for image, row in zip(split.images[:], split.labels.tolist(), strict=True)
    ]


def expected_rows(root, listed):
    rows = []
    for file, labels in zip(listed.files, listed.labels.tolist(), strict=True):
        small = Image.open(root / file).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
        rows.append((np.asarray(small).transpose(2, 0, 1).tobytes(), tuple(labels)))
    return rows


def test_every_image_comes_with_its_own_labels(nuswide, load):
    dataset, listing = load("nuswide21", nuswide), list_nuswide21(nuswide)
    for name, size in NUSWIDE_SIZES.items():
        split = getattr(dataset, name)
        assert len(split) == size
        assert sorted(rows_of(split)) == sorted(expected_rows(nuswide, listing.splits[name]))
    assert dataset.classes == listing.classes
    assert dataset.cut == 5000


def test_the_order_is_the_names_alone(nuswide, load):
    dataset = load("nuswide21", nuswide)
    lists = nuswide / "nuswide21"
    for name in ("train.txt", "query.txt"):
        write_lines(lists / name, (lists / name).read_text().splitlines()[::-1])
    again = load("nuswide21", nuswide)
    assert again.fingerprint == dataset.fingerprint
    assert rows_of(again.train) == rows_of(dataset.train)


def test_no_split_is_sorted_by_class(tmp_path):
    write_mini_imagenet(tmp_path)
    copy = find_copy("imagenet100", tmp_path, OPTIONS)
    for name, labels in copy.labels.items():
        changes = (labels[1:] != labels[:-1]).any(dim=1).sum()
        assert changes > len(labels) / 2, name
        assert len(labels) == IMAGENET_SIZES[name]


def test_a_fingerprint_is_of_contents_and_labels_not_of_places(tmp_path, load):
    fingerprints = {}
    for place in ("train/{wnid}/{file}", "ILSVRC2012_img_train/{wnid}/{file}"):
        root = tmp_path / place.partition("/")[0]
        write_mini_imagenet(root, training=place)
        fingerprints[place] = load("imagenet100", root).fingerprint
    assert len(set(fingerprints.values())) == 1
    file = list_imagenet100(tmp_path / "train").splits["train"].files[0]
    image = Image.open(tmp_path / "train" / file).rotate(180)
    image.save(tmp_path / "train" / file, "JPEG")
    assert load("imagenet100", tmp_path / "train").fingerprint not in fingerprints.values()


def test_training_on_disk_equals_training_in_memory(nuswide, load):
    stored = load("nuswide21", nuswide).train
    states = []
    for split in (stored, Split(stored.images[:], stored.labels)):
        torch.manual_seed(0)
        method = DPQMethod(Backbone(BACKBONE, 21, 24), orthonormal_label_vectors(21, 24), bits=8, codebook_size=16)
        method.fit(split, TrainingConfig(epochs=2, batch_size=16, image_size=32), seed=0)
        states.append((method.codebooks, method.embed(split.images)))
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_missing_images_are_left_out_of_every_split_and_counted(nuswide, load):
    whole = load("nuswide21", nuswide)
    shared = list_nuswide21(nuswide).splits["train"].files[0]  # the database holds the training images
    (nuswide / shared).unlink()
    dataset = load("nuswide21", nuswide)
    assert len(dataset.train) == NUSWIDE_SIZES["train"] - 1
    assert len(dataset.database) == NUSWIDE_SIZES["database"] - 1
    assert len(dataset.query) == NUSWIDE_SIZES["query"]
    before, after = whole.facts["missing"], dataset.facts["missing"]
    assert {name: after[name] - before[name] for name in after} == {"train": 1, "query": 0, "database": 1}


def test_a_copy_that_lacks_too_much_is_refused_with_the_number_that_would_do(nuswide, load):
    (nuswide / list_nuswide21(nuswide).splits["train"].files[0]).unlink()
    lacking = sum({"train": 10000, "query": 5000, "database": 190834}.values()) - sum(NUSWIDE_SIZES.values()) + 2
    with pytest.raises(InputError, match=f"or go on without them with allow_missing={lacking}"):
        load("nuswide21", nuswide, ReadOptions(side=16, allow_missing=lacking - 1, workers=0))
    assert len(load("nuswide21", nuswide, ReadOptions(side=16, allow_missing=lacking, workers=0)).query) == 21


def test_a_split_without_any_image_is_refused_before_training(tmp_path, load):
    write_mini_imagenet(tmp_path / "imagenet")
    shutil.rmtree(tmp_path / "imagenet/val")
    with pytest.raises(InputError, match="no query image of imagenet100 is left"):
        load("imagenet100", tmp_path / "imagenet")


def test_the_name_says_what_the_data_are(nuswide, load, monkeypatch):
    assert load("nuswide21", nuswide).name == "nuswide21-other-lists"
    monkeypatch.setattr("dpq.protocols.listed.listing.Listing.departures", lambda self: ())
    assert load("nuswide21", nuswide).name == "nuswide21-incomplete"
    monkeypatch.setattr("dpq.protocols.listed.listing.Listing.shortfall", lambda self: dict.fromkeys(NUSWIDE_SIZES, 0))
    assert load("nuswide21", nuswide).name == "nuswide21"


def test_subsets_and_validation_parts_are_read_from_the_decoded_images(tmp_path, load):
    root = tmp_path / "imagenet"
    write_mini_imagenet(root)
    dataset = load("imagenet100", root)
    shutil.rmtree(root)
    limited = dataset.limited(8)
    assert len(limited.query) == 8
    assert set(rows_of(limited.query)) < set(rows_of(dataset.query))
    held = dataset.validation()
    assert len(held.train) + len(held.query) + len(held.database) == len(dataset.train)
    assert set(rows_of(held.query)) <= set(rows_of(dataset.train))
