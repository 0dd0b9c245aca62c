from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dpq.errors import InputError
from dpq.protocols.store.read import ImageStore, Inspection, MappedImages, StoredImages

COUNT, SIDE = 40, 8
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (COUNT, 3, SIDE, SIDE), dtype=np.uint8))


def store(path: Path, missing: tuple[int, ...] = (), digests: list[str] | None = None) -> ImageStore:
    path.write_bytes(PIXELS.numpy().tobytes())
    names = tuple(f"{i}.jpg" for i in range(COUNT))
    known = [None if i in missing else (digests or list(names))[i] for i in range(COUNT)]
    return ImageStore(path, names, SIDE, Inspection(tuple(known), {names[i]: "missing" for i in missing}))


@pytest.fixture
def images(tmp_path: Path) -> StoredImages:
    return store(tmp_path / "pixels").rows(torch.arange(COUNT))


def selections() -> list[slice | Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        slice(None),
        slice(3, 9),
        slice(30, 100),
        slice(5, 5),
        slice(2, 30, 7),
        slice(-4, None),
        torch.tensor([], dtype=torch.int64),
        torch.tensor([7]),
        torch.tensor([-1, 0, -COUNT]),
        torch.tensor([4, 5, 6, 4, 4, 7, 3]),
        torch.randperm(COUNT, generator=generator),
        torch.randint(COUNT, (100,), generator=generator),
        torch.arange(COUNT) % 3 == 0,
    ]


def mapped(digests: list[str] | None = None) -> MappedImages:
    return MappedImages(PIXELS, digests or [f"{i}" for i in range(COUNT)], torch.arange(COUNT))


@pytest.mark.parametrize("rows", selections(), ids=range(len(selections())))
@pytest.mark.parametrize("kind", ["stored", "mapped"])
def test_indexing_is_that_of_a_tensor(images: StoredImages, kind: str, rows: slice | Tensor) -> None:
    shuffle = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    every: StoredImages | MappedImages = images if kind == "stored" else mapped()
    for stored, expected in ((every, PIXELS), (every.take(shuffle), PIXELS[shuffle])):
        got = stored[rows]
        assert got.dtype == stored.dtype == torch.uint8
        assert torch.equal(got, expected[rows])
        assert stored.shape == expected.shape
        assert len(stored) == len(expected)


def test_a_selection_of_a_selection(images: StoredImages) -> None:
    outer, inner = torch.tensor([9, 3, 30, 31, 5]), torch.tensor([4, 0, 0, 2, 3])
    taken = images.take(outer).take(inner)
    assert torch.equal(taken[:], PIXELS[outer][inner])
    assert taken.shape == (5, 3, SIDE, SIDE)


@pytest.mark.parametrize("row", [COUNT, -COUNT - 1])
def test_rows_out_of_range_are_refused(images: StoredImages, row: int) -> None:
    for select in (images.__getitem__, images.take, images.store.rows):
        with pytest.raises(IndexError):
            select(torch.tensor([row]))


def test_rows_without_an_image_are_refused(tmp_path: Path) -> None:
    gaps = store(tmp_path / "pixels", missing=(3,))
    assert torch.equal(gaps.rows(torch.tensor([2, 4]))[:], PIXELS[[2, 4]])
    with pytest.raises(ValueError, match=r"row 3 has no image: '3.jpg' \(missing\)"):
        gaps.rows(torch.tensor([2, 3]))


def test_equal_images_in_equal_order_have_equal_digests(tmp_path: Path, images: StoredImages) -> None:
    rows = torch.tensor([8, 2, 5])
    moved = [f"{i}.jpg" for i in reversed(range(COUNT))]  # another listing of the same files
    same = store(tmp_path / "other", digests=moved).rows(COUNT - 1 - rows)
    assert same.digest == images.take(rows).digest
    others = [images, images.take(rows[:2]), images.take(rows.flip(0)), images.take(torch.tensor([8, 2, 6]))]
    other_side = ImageStore(images.store.path, images.store.names, 4, images.store.inspection).rows(rows)
    digests = [selection.digest for selection in (*others, other_side, same)]
    assert len(set(digests)) == len(digests)


def test_a_copy_by_pickle_reads_the_same(images: StoredImages) -> None:
    taken = images.take(torch.tensor([3, 1]))
    copy = pickle.loads(pickle.dumps(taken))
    assert torch.equal(copy[:], taken[:])
    assert copy.digest == taken.digest


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_open_or_mapped(images: StoredImages) -> None:
    kept = images[torch.tensor([5, 2])]
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(images.store.path) not in opened
    assert str(images.store.path) not in Path("/proc/self/maps").read_text()
    assert torch.equal(kept, PIXELS[[5, 2]])


def test_reading_block_by_block_holds_one_block(images: StoredImages) -> None:
    block = 4 * 3 * SIDE**2
    big = images.take(torch.arange(COUNT).repeat(200))  # 8,000 rows
    tracemalloc.start()
    for start in range(0, len(big), 400):
        assert big[start : start + 400].shape[0] == 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert block * 100 <= peak < 3 * block * 100  # seen at all, and far below the 20 blocks of the whole


@pytest.mark.parametrize("length", [0, 100, COUNT * 3 * SIDE**2 - 1, None])
def test_a_store_that_went_away_is_refused(images: StoredImages, length: int | None) -> None:
    if length is None:
        images.store.path.unlink()
    else:
        os.truncate(images.store.path, length)
    with pytest.raises(InputError, match=r"cannot read decoded images in .*pixels.*run again"):
        images[:]


def test_mapped_images_are_copied_when_they_are_indexed() -> None:
    images = mapped().take(torch.arange(20))
    part = images[:]
    part += 1
    assert torch.equal(images[:], PIXELS[:20])
    assert images.take(torch.tensor([3])).whole is PIXELS


def test_the_digest_of_mapped_images_is_of_their_pixels_in_their_order() -> None:
    images = mapped()
    different = [
        images,
        images.take(torch.arange(COUNT).flip(0)),
        images.take(torch.arange(COUNT - 1)),
        mapped(["other", *images.digests[1:]]),
        MappedImages(PIXELS.view(COUNT, 3, 1, -1), images.digests, images.positions),
    ]
    assert len({one.digest for one in different}) == len(different)
    rows = torch.tensor([5, 2])
    alike = MappedImages(PIXELS[rows], [images.digests[row] for row in rows.tolist()], torch.arange(2))
    assert images.take(rows).digest == alike.digest
