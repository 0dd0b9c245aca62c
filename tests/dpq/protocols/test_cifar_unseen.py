from pathlib import Path

import pytest
import torch

from dpq.errors import InputError
from dpq.protocols import load_protocol
from dpq.protocols.base import Split, fingerprint
from dpq.protocols.cifar_unseen import load_cifar_unseen, unseen_classes
from tests.dpq.protocols.test_cifar import CLASSES, KEYS, MINI, PACKERS, files, keys_of, load, write_folder, write_tar

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "cifar10-jpeg", files()).parent


def of_classes(keys: list[str], names: tuple[str, ...]) -> list[str]:
    return [key for key in keys if key.split("/")[1] in names]


def named(split: Split, names: tuple[str, ...]) -> list[str]:
    assert split.labels.shape[1] == len(names)
    assert split.labels.sum(dim=1).eq(1).all()
    return [names[c] for c in split.labels.int().argmax(dim=1)]


def test_three_splits_hold_out_disjoint_triples() -> None:
    triples = [unseen_classes(MINI, seed) for seed in SEEDS]
    held_out = [name for triple in triples for name in triple]
    assert [len(triple) for triple in triples] == [3, 3, 3]
    assert set(CLASSES) - set(held_out) == {"cat"}
    assert len(set(held_out)) == 9
    # Fixed for ever: records of other classes would have the same name.
    assert triples == [("bird", "dog", "frog"), ("airplane", "horse", "ship"), ("automobile", "deer", "truck")]


@pytest.mark.parametrize("seed", SEEDS)
def test_training_sees_no_image_of_an_unseen_class(root: Path, tmp_path: Path, seed: int) -> None:
    data, whole = load_cifar_unseen(MINI, root, tmp_path, seed), load(root, tmp_path)
    unseen = unseen_classes(MINI, seed)
    seen = tuple(name for name in CLASSES if name not in unseen)
    train, query, database = (keys_of(split) for split in (data.train, data.query, data.database))
    assert train == of_classes(keys_of(whole.train), seen)
    assert query == of_classes(keys_of(whole.query), unseen)
    assert database == of_classes(keys_of(whole.database) + keys_of(whole.train), unseen)
    assert (len(train), len(query), len(database)) == (7 * 3, 3 * 2, 3 * (2 + 3))
    assert sorted(query + database) == sorted(of_classes(KEYS, unseen))  # each once, so none is in both
    expected = ((data.train, train, seen), (data.query, query, unseen), (data.database, database, unseen))
    for split, keys, names in expected:
        assert named(split, names) == [key.split("/")[1] for key in keys]


def test_what_the_data_set_says_about_itself(root: Path, tmp_path: Path) -> None:
    splits = [load_cifar_unseen(MINI, root, tmp_path, seed) for seed in SEEDS]
    data, whole = splits[1], load(root, tmp_path)
    assert (data.protocol, data.name, data.cut, data.denominator) == ("cifar10-unseen", whole.name, None, "hits")
    assert data.unseen
    assert data.fingerprint == fingerprint(data.train, data.query, data.database)
    assert len({split.fingerprint for split in splits}) == 3
    assert {split.facts["fingerprint_of_all"] for split in splits} == {whole.fingerprint}
    assert data.facts["unseen"] == ["airplane", "horse", "ship"]
    assert data.facts["seen"] == list(data.classes)
    assert len(data.classes) == 7


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_tar_is_the_folder(root: Path, tmp_path: Path, suffix: str) -> None:
    archive = write_tar(tmp_path / f"cifar10-jpeg.{suffix}", files(), PACKERS[suffix])
    expected = load_cifar_unseen(MINI, root, tmp_path / "a", 2)
    data = load_cifar_unseen(MINI, archive.parent, tmp_path / "b", 2)
    assert (data.fingerprint, data.facts) == (expected.fingerprint, expected.facts)


def test_a_subset_has_as_many_of_every_class_that_a_split_holds(root: Path, tmp_path: Path) -> None:
    data = load_cifar_unseen(MINI, root, tmp_path, 0).limited(7)
    assert data.train.labels.sum(dim=0).tolist() == [1] * 7
    assert data.query.labels.sum(dim=0).tolist() == data.database.labels.sum(dim=0).tolist() == [2] * 3
    assert data.unseen


def test_there_is_no_validation_part(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cifar10-unseen has no validation part"):
        load_cifar_unseen(MINI, root, tmp_path, 0).validation()


@pytest.mark.parametrize("seed", [-1, 3])
def test_other_splits_are_refused_before_anything_is_read(tmp_path: Path, seed: int) -> None:
    with pytest.raises(InputError, match=f"class splits 0 to 2; got {seed}"):
        load_protocol("cifar10-unseen", tmp_path / "nowhere", tmp_path, split_seed=seed)


def test_the_split_seed_reaches_the_draw_of_every_protocol(tmp_path: Path) -> None:
    drawn = [load_protocol("digits", cache=tmp_path, split_seed=seed).query.images for seed in (0, 1)]
    assert not torch.equal(*drawn)
    with pytest.raises(InputError, match="nuswide21 has one split, that of its published lists; its split seed is 0"):
        load_protocol("nuswide21", tmp_path, tmp_path, split_seed=1)
