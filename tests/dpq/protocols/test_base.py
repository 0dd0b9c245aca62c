from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dpq.errors import InputError
from dpq.protocols.base import Dataset, Split, draw_splits, fingerprint, seeded_order
from dpq.protocols.store.read import ImageStore, Inspection, StoredImages

CLASSES, PER_CLASS, QUERY, TRAIN = 3, 40, 4, 20
KEYS = [f"{'abc'[i % CLASSES]}/{i // CLASSES:04d}" for i in range(CLASSES * PER_CLASS)]


def numbered(count: int) -> torch.Tensor:
    """Images [count, 3, 1, 1] whose pixels spell their own number."""
    return torch.tensor([[i % 256, i // 256, 7] for i in range(count)], dtype=torch.uint8).view(count, 3, 1, 1)


def numbers(split: Split) -> list[int]:
    return [int(image[0]) + 256 * int(image[1]) for image in split.images]


def draw(order: list[int] | None = None, seed: int = 0) -> tuple[Split, Split, Split]:
    """The miniature's splits when its images are listed in `order`."""
    order = list(range(len(KEYS))) if order is None else order
    images = numbered(len(KEYS))[torch.tensor(order)]
    keys = [KEYS[i] for i in order]
    return draw_splits(images, [i % CLASSES for i in order], keys, CLASSES, query=QUERY, train=TRAIN, seed=seed)


def dataset(seed: int = 0) -> Dataset:
    parts = draw(seed=seed)
    return Dataset("mini", "mini", ("a", "b", "c"), *parts, fingerprint=fingerprint(*parts))


def test_draw_follows_the_rule() -> None:
    def rank(i: int) -> str:
        return hashlib.sha256(f"5:{KEYS[i]}".encode()).hexdigest()

    train, query, database = set(), set(), set()
    for c in range(CLASSES):
        ranked = sorted((i for i in range(len(KEYS)) if i % CLASSES == c), key=rank)
        query.update(ranked[:QUERY])
        train.update(ranked[QUERY : QUERY + TRAIN])
        database.update(ranked[QUERY + TRAIN :])
    for split, expected in zip(draw(seed=5), (train, query, database), strict=True):
        assert numbers(split) == sorted(expected, key=rank)


def test_seeded_order_is_pinned() -> None:
    assert seeded_order(["a", "b", "c", "d", "e"], 0) == [3, 0, 2, 1, 4]


def test_splits_are_disjoint_complete_and_balanced() -> None:
    parts = draw()
    assert sorted(i for split in parts for i in numbers(split)) == list(range(len(KEYS)))
    for split, count in zip(parts, (TRAIN, QUERY, PER_CLASS - TRAIN - QUERY), strict=True):
        assert split.labels.sum(dim=0).tolist() == [count] * CLASSES


def test_labels_stay_with_their_images() -> None:
    for split in draw():
        assert split.labels.int().argmax(dim=1).tolist() == [i % CLASSES for i in numbers(split)]
        assert split.labels.sum(dim=1).eq(1).all()


def test_draw_does_not_depend_on_the_listing() -> None:
    expected = draw()
    for order in (list(reversed(range(len(KEYS)))), sorted(range(len(KEYS)), key=lambda i: (i * 37) % 101)):
        for split, same in zip(draw(order), expected, strict=True):
            assert torch.equal(split.images, same.images)
            assert torch.equal(split.labels, same.labels)


def test_draw_repeats_and_depends_on_the_seed() -> None:
    assert fingerprint(*draw(seed=1)) == fingerprint(*draw(seed=1)) != fingerprint(*draw(seed=2))
    assert set(numbers(draw(seed=1)[1])) != set(numbers(draw(seed=2)[1]))


def test_no_split_is_sorted_by_class() -> None:
    for split in draw():
        classes = split.labels.int().argmax(dim=1)
        assert (classes.diff() < 0).any()


@pytest.mark.parametrize("count", [PER_CLASS - TRAIN, PER_CLASS - TRAIN + 1])
def test_a_class_without_database_images_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"has {PER_CLASS} images") as error:
        draw_splits(numbered(120), [i % 3 for i in range(120)], KEYS, 3, query=count, train=TRAIN, seed=0)
    assert "\n" not in str(error.value)


def test_fingerprint_sees_pixels_labels_order_and_shape() -> None:
    split = Split(numbered(6), torch.eye(6, dtype=torch.bool))
    pixel, label = split.images.clone(), split.labels.clone()
    pixel[5, 2, 0, 0] += 1
    label[0, 5] = True
    variants = [
        (split,),
        (Split(pixel, split.labels),),
        (Split(split.images, label),),
        (split.take(torch.tensor([1, 0, 2, 3, 4, 5])),),
        (Split(split.images.view(6, 1, 3, 1), split.labels),),
        (split.take(torch.arange(3)), split.take(torch.arange(3, 6))),
    ]
    assert len({fingerprint(*parts) for parts in variants}) == len(variants)


def test_split_refuses_wrong_lengths_and_types() -> None:
    with pytest.raises(ValueError, match="2 images but 3 label rows"):
        Split(numbered(2), torch.ones(3, 1, dtype=torch.bool))
    with pytest.raises(InputError, match="uint8 images and bool labels"):
        Split(numbered(2).float(), torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(InputError, match="uint8 images and bool labels"):
        Split(numbered(2), torch.ones(2, 1))


def test_balanced_takes_the_first_of_every_class() -> None:
    split = draw()[0]
    every = numbers(split)
    expected = [i for i in every if i in [j for j in every if j % CLASSES == i % CLASSES][:2]]
    assert numbers(split.balanced(2 * CLASSES + 2)) == expected
    assert numbers(split.balanced(10_000)) == every


def test_balanced_refuses_less_than_one_a_class() -> None:
    with pytest.raises(InputError, match="a limit of 2 leaves no image"):
        draw()[0].balanced(CLASSES - 1)


def test_limited_is_balanced_and_says_so() -> None:
    whole = dataset()
    part = whole.limited(9)
    for split in (part.train, part.query, part.database):
        assert split.labels.sum(dim=0).tolist() == [3, 3, 3]
    assert numbers(part.query) == numbers(whole.query.balanced(9))
    assert (part.name, part.protocol) == ("mini-limit9", "mini")
    assert part.fingerprint == f"{whole.fingerprint}-limit9"


def test_validation_divides_the_training_split_alone() -> None:
    whole = dataset()
    part = whole.validation()
    assert numbers(part.train.balanced(3)) == numbers(whole.train.balanced(3))
    divided = [i for split in (part.train, part.query, part.database) for i in numbers(split)]
    assert sorted(divided) == sorted(numbers(whole.train))
    for split, count in ((part.train, 16), (part.query, 2), (part.database, 2)):
        assert split.labels.sum(dim=0).tolist() == [count] * CLASSES
    assert part.name == "mini-validation"
    assert part.fingerprint != whole.fingerprint


def test_validation_needs_ten_images_a_class() -> None:
    whole = dataset()
    with pytest.raises(InputError, match="10 training images"):
        replace(whole, train=whole.train.balanced(4 * CLASSES)).validation()
    assert len(replace(whole, train=whole.train.balanced(10 * CLASSES)).validation().query) == CLASSES


def test_a_split_of_stored_images_reads_nothing_until_asked(tmp_path: Path) -> None:
    pixels = numbered(6)
    labels = torch.eye(3, dtype=torch.bool).repeat(2, 1)
    names = tuple("abcdef")
    store = ImageStore(tmp_path / "pixels", names, 1, Inspection(names, {}))
    kept, stored = Split(pixels, labels), Split(store.rows(torch.arange(6)), labels)
    rows = torch.tensor([4, 0, 5])
    pairs = [(kept.take(rows), stored.take(rows)), (kept.balanced(3), stored.balanced(3))]
    store.path.write_bytes(pixels.numpy().tobytes())
    for expected, split in pairs:
        assert isinstance(split.images, StoredImages)
        assert len(split) == len(expected)
        assert torch.equal(split.images[:], expected.images)
        assert torch.equal(split.labels, expected.labels)
    with pytest.raises(ValueError, match="6 images but 5 label rows"):
        Split(stored.images, labels[:5])


def test_an_image_without_a_label_is_of_no_class() -> None:
    whole = draw()[1]
    labels = whole.labels.clone()
    labels[:5] = False
    some = Split(whole.images, labels)
    assert some.first_label[:5].tolist() == [-1] * 5
    assert not set(numbers(some.balanced(10_000))) & set(numbers(whole)[:5])


def test_names_go_with_their_images():
    images, labels = (
        torch.arange(12, dtype=torch.uint8).reshape(4, 3, 1, 1),
        torch.eye(2, dtype=torch.bool).repeat(2, 1),
    )
    named = Split(images, labels, ("a", "b", "c", "d"))
    assert named.take(torch.tensor([2, 0])).names == ("c", "a")
    assert named.having([1]).names == ("b", "d")
    assert named.balanced(2).names == ("a", "b")
    assert Split(images, labels).balanced(2).names is None
    with pytest.raises(InputError, match="4 images but 3 names; give one for each, or none"):
        Split(images, labels, ("a", "b", "c"))
