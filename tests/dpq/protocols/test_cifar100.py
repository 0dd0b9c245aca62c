"""CIFAR-100 in miniature: three training images and one test image of each class, two of them copies."""

import hashlib
import os
import pickle
import tarfile
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100 as OFFICIAL

from dpq.errors import InputError
from dpq.protocols import load_protocol
from dpq.protocols.base import fingerprint
from dpq.protocols.cifar import CIFAR100, load_cifar
from dpq.protocols.cifar_unseen import load_cifar_unseen, unseen_classes
from tests.dpq.protocols.test_cifar import encoded, files, md5, unpacks, write_folder, write_tar

PER_SPLIT = {"train": 4, "test": 1}
MINI = replace(CIFAR100, query=1, train=2, per_split=PER_SPLIT)
CLASSES = MINI.classes
KEYS = [f"{split}/{name}/{i:04d}" for split, number in PER_SPLIT.items() for name in CLASSES for i in range(number)]
COPIES = {  # of which image each is a copy; the others stay
    "train/trout/0002": "test/trout/0000",
    "train/crab/0003": "train/crab/0001",
    "test/seal/0000": "test/otter/0000",
}


@cache
def pixels(key: str) -> np.ndarray:
    """The made-up image [32, 32, 3] of a key; equal to no other but its copies."""
    number = KEYS.index(COPIES.get(key, key))
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@cache
def content() -> dict[str, bytes]:
    return {f"{key}.png": encoded(pixels(key), "PNG") for key in KEYS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "cifar100-restored", content())


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return load_cifar(MINI, folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The official folder, in orders of its own, whose check sums torchvision is taught: `train`, `test` and `meta`."""
    folder = tmp_path / "official" / "cifar-100-python"
    folder.mkdir(parents=True)
    coarse = sorted(set(MINI.coarse))
    for split in PER_SPLIT:
        keys = sorted((key for key in KEYS if key.startswith(split)), key=lambda key: (key[-4:], key[::-1]))
        fine = [CLASSES.index(key.split("/")[1]) for key in keys]
        batch = {
            "filenames": keys,
            "batch_label": f"{split}ing batch 1 of 1",
            "fine_labels": fine,
            "coarse_labels": [coarse.index(MINI.coarse[label]) for label in fine],
            "data": np.stack([pixels(key).transpose(2, 0, 1).reshape(-1) for key in keys]),
        }
        (folder / split).write_bytes(pickle.dumps(batch))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [*CLASSES], "coarse_label_names": coarse}))
    monkeypatch.setattr(OFFICIAL, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(OFFICIAL, "test_list", [["test", md5(folder / "test")]])
    monkeypatch.setattr(OFFICIAL, "meta", {**OFFICIAL.meta, "md5": md5(folder / "meta")})
    return folder


def keys_of(split):
    found = {pixels(key).tobytes(): key for key in KEYS if key not in COPIES}
    return [found[image.permute(1, 2, 0).numpy().tobytes()] for image in split.images[:]]


def test_the_classes_are_the_official_ones_in_their_order():
    assert len(CLASSES) == 100
    assert (CLASSES[0], CLASSES[1], CLASSES[11], CLASSES[99]) == ("apple", "aquarium_fish", "boy", "worm")
    assert set(Counter(CIFAR100.coarse).values()) == {5}
    assert len(set(CIFAR100.coarse)) == 20
    named = dict(zip(CLASSES, CIFAR100.coarse, strict=True))
    assert (named["apple"], named["whale"], named["worm"]) == (
        "fruit_and_vegetables",
        "aquatic_mammals",
        "non-insect_invertebrates",
    )
    assert {**CIFAR100.per_split, "query": CIFAR100.query, "trains": CIFAR100.train} == {
        **{"train": 500, "test": 100},
        **{"query": 10, "trains": 100},
    }


def test_of_copies_the_first_by_name_stays(whole):
    every = [key for split in (whole.train, whole.query, whole.database) for key in keys_of(split)]
    assert sorted(every) == sorted(set(KEYS) - COPIES.keys())
    assert whole.facts["copies_left_out"] == len(COPIES)
    assert (len(whole.train), len(whole.query), len(whole.database)) == (200, 100, 200 - len(COPIES))


def test_the_draw_follows_the_rule(whole, folder, tmp_path):
    def rank(seed):
        return lambda key: hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()

    kept = [key for key in KEYS if key not in COPIES]
    for seed, data in ((0, whole), (3, load_cifar(MINI, folder, tmp_path, 3))):
        ranked = [sorted((key for key in kept if f"/{name}/" in key), key=rank(seed)) for name in CLASSES]
        for split, first, last in ((data.query, 0, 1), (data.train, 1, 3), (data.database, 3, 5)):
            assert sorted(keys_of(split)) == sorted(key for group in ranked for key in group[first:last])
            assert [CLASSES[row] for row in split.first_label] == [key.split("/")[1] for key in keys_of(split)]
    assert keys_of(data.query) != keys_of(whole.query)


def test_what_the_data_set_says_about_itself(whole):
    assert (whole.protocol, whole.name, whole.classes, whole.cut) == ("cifar100", "cifar100-restored", CLASSES, None)
    assert whole.facts["coarse"] == list(CIFAR100.coarse)
    assert whole.fingerprint == fingerprint(whole.train, whole.query, whole.database)
    assert not whole.unseen


def test_the_official_folder_is_read_in_place(official, whole, tmp_path):
    for root in (official, official.parent):
        data = load_cifar(MINI, root, tmp_path / "cache")
        assert (data.name, data.fingerprint, data.facts) == ("cifar100", whole.fingerprint, whole.facts)
    assert not (tmp_path / "cache").exists()


@unpacks
def test_the_official_archive_is_checked_and_unpacked(official, whole, tmp_path, monkeypatch):
    archive = tmp_path / "packed" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(official, official.name)
    with pytest.raises(InputError, match=f"altered: its MD5 is not {OFFICIAL.tgz_md5}"):
        load_cifar(MINI, archive, tmp_path / "cache")
    monkeypatch.setattr(OFFICIAL, "tgz_md5", md5(archive))
    for root in (archive, archive.parent):
        data = load_cifar(MINI, root, tmp_path / "cache")
        assert (data.name, data.fingerprint) == ("cifar100", whole.fingerprint)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cifar-100-python"]


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_an_altered_official_folder_is_refused_unread(official, tmp_path, name):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "marker"),)

    (official / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"cifar-100-python is incomplete or altered \(MD5\)"):
        load_cifar(MINI, official, tmp_path / "cache")
    assert not (tmp_path / "marker").exists()


def test_both_sets_may_lie_in_one_place(folder, whole, tmp_path):
    write_tar(tmp_path / "cifar100-restored.tar", content())
    write_folder(tmp_path / "cifar10-restored", files())
    assert load_cifar(MINI, tmp_path, tmp_path / "cache").fingerprint == whole.fingerprint
    with pytest.raises(InputError, match=r"'train/airplane' has 5 images, CIFAR-10 has 5000 there"):
        load_protocol("cifar10", tmp_path, tmp_path / "cache")
    with pytest.raises(InputError, match=r"'train/apple' has 4 images, CIFAR-100 has 500 there"):
        load_protocol("cifar100", tmp_path, tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    for protocol in ("cifar100", "cifar100-unseen"):
        with pytest.raises(InputError, match=r"no CIFAR-100 in .*cifar-100-python/, .*cifar100-<variant>.tar "):
            load_protocol(protocol, tmp_path / "empty", tmp_path / "cache")


# --- classes that training has not seen ------------------------------------------------------------------------


def test_four_class_splits_hold_out_every_class_once_and_the_fifth_others():
    parts = [unseen_classes(MINI, seed) for seed in range(5)]
    assert [len(part) for part in parts] == [25] * 5
    assert sorted(name for part in parts[:4] for name in part) == list(CLASSES)
    assert all(list(part) == sorted(part) for part in parts)
    assert all(0 < len(set(parts[4]) & set(part)) < 25 for part in parts[:4])
    # Fixed for ever: records of other classes would have the same name.
    drawn = hashlib.sha256(repr(parts).encode()).hexdigest()
    assert drawn[:12] == "0e04a613b4ad"
    for seed in (-1, 5):
        with pytest.raises(InputError, match=f"cifar100-unseen has the class splits 0 to 4; got {seed}"):
            unseen_classes(MINI, seed)


@pytest.mark.parametrize("seed", [0, 4])
def test_training_sees_no_image_of_an_unseen_class(folder, whole, tmp_path, seed):
    data, unseen = load_cifar_unseen(MINI, folder, tmp_path, seed), unseen_classes(MINI, seed)
    seen = tuple(name for name in CLASSES if name not in unseen)

    def some(splits, names):
        return [key for split in splits for key in keys_of(split) if key.split("/")[1] in names]

    assert keys_of(data.train) == some([whole.train], seen)
    assert keys_of(data.query) == some([whole.query], unseen)
    assert keys_of(data.database) == some([whole.database, whole.train], unseen)
    for split, names in ((data.train, seen), (data.query, unseen), (data.database, unseen)):
        assert torch.equal(split.labels.sum(dim=1), torch.ones(len(split), dtype=torch.int64))
        assert [names[row] for row in split.first_label] == [key.split("/")[1] for key in keys_of(split)]
    assert (data.protocol, data.classes, data.unseen) == ("cifar100-unseen", seen, True)
    named = dict(zip(CLASSES, CIFAR100.coarse, strict=True))
    assert data.facts == {
        "copies_left_out": len(COPIES),
        "coarse": [named[name] for name in unseen],
        "seen": list(seen),
        "unseen": list(unseen),
        "fingerprint_of_all": whole.fingerprint,
    }
