from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dpq.errors import InputError
from dpq.protocols import PROTOCOLS, Dataset, load_protocol
from dpq.protocols.base import fingerprint
from dpq.protocols.digits import load_digits_protocol, seen_classes


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits_protocol()


def test_counts(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.query), len(digits.database)) == (300, 200, 1097)
    assert digits.train.labels.sum(dim=0).tolist() == [50 * (str(c) in seen_classes(0)) for c in range(10)]
    assert digits.query.labels.sum(dim=0).tolist() == [20] * 10
    assert digits.train.images.shape[1:] == (3, 8, 8)
    assert (digits.protocol, digits.name, digits.cut, digits.denominator) == ("digits", "digits", None, "hits")


def test_draw_and_pixels_follow_the_rule(digits: Dataset) -> None:
    bundle = load_digits()
    ranked = sorted(range(1797), key=lambda i: hashlib.sha256(f"0:digits/{i:04d}".encode()).hexdigest())
    wanted: dict[str, list[int]] = {"query": [], "train": [], "database": []}
    seen = sorted(sorted(range(10), key=lambda c: hashlib.sha256(f"0:{c}".encode()).hexdigest())[:6])
    assert seen_classes(0) == tuple(str(c) for c in seen)
    taken = [0] * 10
    for i in ranked:
        count = taken[bundle.target[i]]
        wanted["query" if count < 20 else "train" if count < 70 else "database"].append(i)
        taken[bundle.target[i]] += 1
    wanted["train"] = [i for i in wanted["train"] if bundle.target[i] in seen]
    for name, rows in wanted.items():
        split = getattr(digits, name)
        grey = np.rint(bundle.images[rows] * 255 / 16)
        for channel in range(3):
            assert np.array_equal(split.images[:, channel].numpy(), grey)
        assert split.labels.int().argmax(dim=1).tolist() == bundle.target[rows].tolist()


def test_pixels_use_the_whole_range(digits: Dataset) -> None:
    assert (int(digits.train.images.min()), int(digits.train.images.max())) == (0, 255)


def test_repeats_and_depends_on_the_seed(digits: Dataset) -> None:
    again = load_digits_protocol()
    assert again.fingerprint == digits.fingerprint == fingerprint(digits.train, digits.query, digits.database)
    assert load_digits_protocol(split_seed=1).fingerprint != digits.fingerprint
    drawn = {seen_classes(seed) for seed in range(5)}
    assert len(drawn) > 1
    assert {len(set(classes)) for classes in drawn} == {6}


def test_registry_gives_the_same_data_and_touches_no_cache(digits: Dataset, tmp_path: Path) -> None:
    found = load_protocol("digits", cache=tmp_path / "cache")
    assert found.fingerprint == digits.fingerprint
    assert torch.equal(found.query.images, digits.query.images)
    assert not (tmp_path / "cache").exists()


def test_unknown_protocol_lists_the_known() -> None:
    with pytest.raises(InputError, match="'digitz'") as error:
        load_protocol("digitz")
    assert all(name in str(error.value) for name in PROTOCOLS)


def test_no_home_folder_matters_only_where_a_cache_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless(*_: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("DPQ_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    assert len(load_protocol("digits").query) == 200
    for name in PROTOCOLS.keys() - {"digits"}:
        with pytest.raises(InputError, match="no home folder for a cache; set DPQ_CACHE to a folder"):
            load_protocol(name, tmp_path)
    monkeypatch.setenv("DPQ_CACHE", "~/cache")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(InputError, match="no home folder"):
        load_protocol("cifar10", tmp_path)
