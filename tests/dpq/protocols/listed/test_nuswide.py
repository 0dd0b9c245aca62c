from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpq.errors import InputError
from dpq.protocols.listed.listing import find_leaks, find_unlabelled, list_digest
from dpq.protocols.listed.lists import bits, read_list
from dpq.protocols.listed.nuswide import CONCEPTS, PUBLISHED, list_nuswide21
from tests.dpq.protocols.miniatures import (
    NUSWIDE_IMAGES,
    NUSWIDE_SIZES,
    real_lists,
    write_lines,
    write_mini_nuswide,
)

IMAGE_LIST = "ImageList/Imagelist.txt"
SKY = "Groundtruth/AllLabels/Labels_sky.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mini_nuswide(tmp_path, images=False)
    return tmp_path


def refusal(root: Path, strip_prefix: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        list_nuswide21(root, strip_prefix=strip_prefix)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    write_lines(path, change(path.read_text().splitlines()))


def official(root: Path) -> dict[str, tuple[str, ...]]:
    """Concepts of every image by its path, read the long way round."""
    names = [f"Flickr/{line}".replace("\\", "/") for line in (root / IMAGE_LIST).read_text().splitlines()]
    labels = [(root / f"Groundtruth/AllLabels/Labels_{c}.txt").read_text().split() for c in CONCEPTS]
    return {
        name: tuple(c for c, bit in zip(CONCEPTS, row, strict=True) if bit == "1")
        for name, row in zip(names, zip(*labels, strict=True), strict=True)
    }


# --- the database from the ground truth ----------------------------------------------------------------------


def test_what_the_listing_says(root: Path) -> None:
    found = list_nuswide21(root)
    assert (found.protocol, found.cut, found.further_cuts) == ("nuswide21", 5000, ())
    assert found.classes == CONCEPTS
    assert {name: len(found.splits[name]) for name in NUSWIDE_SIZES} == NUSWIDE_SIZES
    assert found.shortfall() == {"train": 9_916, "query": 4_979, "database": 190_708}
    assert found.departures() != ()
    assert find_leaks(found.splits) == find_unlabelled(found.splits) == {}


def test_the_database_is_all_that_is_labelled_and_no_query(root: Path) -> None:
    found, truth = list_nuswide21(root), official(root)
    expected = [name for name, concepts in truth.items() if concepts and name not in found.splits["query"].paths]
    assert list(found.splits["database"].paths) == expected
    assert found.splits["database"].files == found.splits["database"].paths
    assert set(found.splits["train"].paths) < set(expected)
    assert len(truth) == NUSWIDE_IMAGES > len(expected) + len(found.splits["query"])
    for split in found.splits.values():
        for path, row in zip(split.paths, split.labels.tolist(), strict=True):
            assert tuple(c for c, bit in zip(found.classes, row, strict=True) if bit) == truth[path]


def test_the_ground_truth_names_the_columns(root: Path) -> None:
    expected = list_nuswide21(root)
    order = np.random.default_rng(3).permutation(len(CONCEPTS))

    def reorder(lines: list[str]) -> list[str]:
        rows = [line.split() for line in lines]
        return [" ".join([path, *(labels[i] for i in order)]) for path, *labels in rows]

    for name in ("train", "query"):
        edit(root / f"nuswide21/{name}.txt", reorder)
    found = list_nuswide21(root)
    assert found.classes == tuple(CONCEPTS[i] for i in order)
    assert found.splits["database"].paths == expected.splits["database"].paths
    assert found.splits["database"].labels.equal(expected.splits["database"].labels[:, order.tolist()])


@pytest.mark.parametrize("differing", ["clouds", "mountain"])
def test_equal_columns_keep_the_inferred_order(root: Path, differing: str) -> None:
    first, last = CONCEPTS.index("clouds"), CONCEPTS.index("mountain")

    def make_equal(lines: list[str]) -> list[str]:
        rows = [line.split() for line in lines]
        for row in rows:
            row[1 + last] = row[1 + first]
        return [" ".join(row) for row in rows]

    for name in ("train", "query"):
        edit(root / f"nuswide21/{name}.txt", make_equal)
    shutil.copy(root / SKY.replace("sky", "clouds"), root / SKY.replace("sky", "mountain"))
    listed = (root / "nuswide21/train.txt").read_text().split()[0].removeprefix("Flickr/").replace("/", "\\")
    at = (root / IMAGE_LIST).read_text().splitlines().index(listed)
    truth = root / SKY.replace("sky", differing)  # both assignments are wrong on this image
    edit(truth, lambda lines: [*lines[:at], "10"[int(lines[at])], *lines[at + 1 :]])
    assert list_nuswide21(root).classes == CONCEPTS


def test_a_few_other_labels_are_forgiven(root: Path) -> None:
    def flip(lines: list[str]) -> list[str]:
        path, bit, *rest = lines[0].split()
        return [" ".join([path, "10"[int(bit)], *rest]), *lines[1:]]

    edit(root / "nuswide21/train.txt", flip)  # one of 105 images
    assert list_nuswide21(root).classes == CONCEPTS
    edit(root / "nuswide21/query.txt", flip)
    message = refusal(root)
    assert "label column 0 of train.txt and query.txt fits no concept" in message
    assert "'sky', it agrees on 0.981 of the images; 0.99 is needed" in message


def test_a_column_of_another_concept_is_named(root: Path) -> None:
    shutil.copy(root / SKY.replace("sky", "airport"), root / SKY.replace("sky", "ocean"))
    message = refusal(root)
    assert f"label column {CONCEPTS.index('ocean')} of" in message
    assert "'ocean'" in message


def test_lists_of_other_images_are_refused(root: Path) -> None:
    edit(root / "nuswide21/train.txt", lambda lines: [line.replace("Flickr/", "images/") for line in lines])
    assert "21 of the 105 images of train.txt and query.txt are in ImageList/Imagelist.txt" in refusal(root)


def test_how_the_ground_truth_is_written_does_not_matter(root: Path) -> None:
    expected = list_nuswide21(root)
    for path in (IMAGE_LIST, SKY):
        text = (root / path).read_text()
        (root / path).write_bytes(text.replace("\n", " \r\n").encode())
    edit(root / IMAGE_LIST, lambda lines: [line.replace("\\", "/") for line in lines])
    assert list_digest(list_nuswide21(root).splits["database"]) == list_digest(expected.splits["database"])


def test_the_ground_truth_may_lie_beside_the_lists(root: Path) -> None:
    expected = list_nuswide21(root)
    for name in ("Groundtruth", "ImageList"):
        (root / name).rename(root / "nuswide21" / name)
    assert list_digest(list_nuswide21(root).splits["database"]) == list_digest(expected.splits["database"])


@pytest.mark.parametrize("path", [IMAGE_LIST, SKY, SKY.replace("sky", "mountain")])
def test_a_missing_file_of_the_ground_truth_is_named(root: Path, path: str) -> None:
    (root / path).unlink()
    assert f"{root / path} is missing" in refusal(root)


@pytest.mark.parametrize("path", [IMAGE_LIST, SKY])
def test_ground_truth_of_differing_length_is_refused(root: Path, path: str) -> None:
    edit(root / path, lambda lines: lines[:-1])
    labels, images = NUSWIDE_IMAGES - (path == SKY), NUSWIDE_IMAGES - (path == IMAGE_LIST)
    assert f"has {labels} labels for the {images} images of {root / IMAGE_LIST}" in refusal(root)


@pytest.mark.parametrize("bit", ["2", "-1", "1 0", "sky"])
def test_other_bits_in_the_ground_truth_are_refused(root: Path, bit: str) -> None:
    edit(root / SKY, lambda lines: [*lines[:6], bit, *lines[7:]])
    assert f"{root / SKY}:7: {bit!r} is neither 0 nor 1" in refusal(root)


def test_unsafe_paths_in_the_image_list_are_refused(root: Path) -> None:
    edit(root / IMAGE_LIST, lambda lines: ["..\\..\\1.jpg", *lines[1:]])
    assert f"{root / IMAGE_LIST}:1: path '..\\\\..\\\\1.jpg' names no file below" in refusal(root)


def test_ground_truth_without_a_database_is_refused(root: Path) -> None:
    for name in ("train", "query"):  # two images, both of them queries
        edit(root / f"nuswide21/{name}.txt", lambda lines: lines[:1])
    listed = [(root / f"nuswide21/{name}.txt").read_text().split() for name in ("train", "query")]
    write_lines(root / "nuswide21/query.txt", [" ".join(row) for row in listed])
    write_lines(root / IMAGE_LIST, [row[0].removeprefix("Flickr/") for row in listed])
    for i, concept in enumerate(CONCEPTS):
        write_lines(root / SKY.replace("sky", concept), [row[1 + i] for row in listed])
    assert "leaves no image for the database" in refusal(root)


# --- list files ----------------------------------------------------------------------------------------------


def test_a_listed_database_goes_before_the_ground_truth(root: Path) -> None:
    lines = (root / "nuswide21/train.txt").read_text().splitlines()
    (root / "nuswide21/database.txt.gz").write_bytes(gzip.compress("\n".join(lines[:5]).encode()))
    found = list_nuswide21(root)
    assert found.splits["database"].paths == found.splits["train"].paths[:5]
    assert found.splits["database"].source == "database.txt.gz"
    assert found.classes == CONCEPTS
    shutil.rmtree(root / "Groundtruth")
    assert list_digest(list_nuswide21(root).splits["database"]) == list_digest(found.splits["database"])
    assert list_nuswide21(root).classes == CONCEPTS


def test_lists_may_lie_in_the_root(root: Path) -> None:
    expected = list_nuswide21(root)
    for name in ("train.txt", "query.txt"):
        (root / "nuswide21" / name).rename(root / name)
    assert list_digest(list_nuswide21(root).splits["train"]) == list_digest(expected.splits["train"])
    for name in ("train.txt", "query.txt"):
        (root / f"{name}.gz").write_bytes(gzip.compress((root / name).read_bytes()))
        (root / name).unlink()
    assert list_digest(list_nuswide21(root).splits["query"]) == list_digest(expected.splits["query"])


def test_the_protocols_own_folder_goes_first(root: Path) -> None:
    for name in ("train.txt", "query.txt", "database.txt"):
        write_lines(root / name, ["n01440764/n01440764_1.JPEG 0"])
    assert len(list_nuswide21(root).splits["train"]) == NUSWIDE_SIZES["train"]


def test_lists_with_the_authors_folders(root: Path) -> None:
    expected = list_nuswide21(root)
    for name in ("train", "query"):
        edit(root / f"nuswide21/{name}.txt", lambda lines: [f"/data/nus/{line}" for line in lines])
    found = list_nuswide21(root, strip_prefix="/data/nus")
    assert found.splits["train"].paths == expected.splits["train"].paths
    assert list_digest(found.splits["database"]) == list_digest(expected.splits["database"])
    assert f"{root / 'nuswide21/train.txt'}:1: path '/data/nus/Flickr/" in refusal(root)
    assert "does not start with the prefix '/data/nus/Flickr/actor/'" in refusal(root, "/data/nus/Flickr/actor")


def test_lists_of_another_number_of_concepts_are_refused(root: Path) -> None:
    edit(root / "nuswide21/query.txt", lambda lines: [*lines[:3], f"{lines[3]} 1", *lines[4:]])
    assert f"{root / 'nuswide21/query.txt'}:4: ends in 22 bits" in refusal(root)


@pytest.mark.parametrize("missing", ["train.txt", "query.txt"])
def test_missing_lists_say_where_to_get_them(root: Path, missing: str) -> None:
    (root / "nuswide21" / missing).unlink()
    message = refusal(root)
    for words in (str(root), "train.txt, query.txt", "cfm-uestc/DPQ", "data/nus21", str(root / "nuswide21")):
        assert words in message


def test_a_missing_database_says_both_ways_out(root: Path) -> None:
    shutil.rmtree(root / "Groundtruth")
    message = refusal(root)
    for words in ("NUS-WIDE, Lab for Media Search, National University of Singapore", "Groundtruth/", "ImageList/"):
        assert words in message
    assert f"database.txt into {root / 'nuswide21'}" in message


def test_mini_images_differ_in_size_and_show_their_labels(tmp_path: Path) -> None:
    write_mini_nuswide(tmp_path)
    found = list_nuswide21(tmp_path)
    sizes, hues = set(), {}
    for file, row in zip(found.splits["database"].files, found.splits["database"].labels, strict=True):
        with Image.open(tmp_path / file) as image:
            sizes.add(image.size)
            if row.sum() == 1:
                hue = np.asarray(image.convert("HSV"))[..., 0].astype(int)
                hues.setdefault(int(row.int().argmax()), []).append(np.median(hue))
    assert len(sizes) > 50
    assert len(hues) > 15
    for label, values in hues.items():
        assert np.abs((np.array(values) - label / 21 * 256 + 128) % 256 - 128).max() < 4


# --- the full lists ------------------------------------------------------------------------------------------


def test_real_lists(tmp_path: Path) -> None:
    folder = real_lists("nuswide21")
    (tmp_path / "nuswide21").symlink_to(folder)
    splits = [read_list(folder / f"{name}.txt", bits(21)) for name in ("train", "query")]
    rows = [(path, row) for split in splits for path, row in zip(split.paths, split.labels.tolist(), strict=True)]
    write_lines(tmp_path / IMAGE_LIST, [path.removeprefix("Flickr/") for path, _ in rows])
    for i, concept in enumerate(CONCEPTS):
        write_lines(tmp_path / SKY.replace("sky", concept), [str(int(row[i])) for _, row in rows])

    found = list_nuswide21(tmp_path)
    assert found.classes == CONCEPTS
    assert found.shortfall() == {"train": 0, "query": 0, "database": 180_834}
    assert found.departures() == ("database: images 10000, published 190834",)
    assert find_leaks(found.splits) == find_unlabelled(found.splits) == {}
    for name, mean in (("train", 2.11), ("query", 2.15)):
        labels = found.splits[name].labels
        assert labels.sum(dim=1).float().mean().item() == pytest.approx(mean, abs=0.005)
        assert labels.any(dim=1).all()
        assert list_digest(found.splits[name]) == PUBLISHED.digests[name]


def test_an_unlabelled_image_in_the_real_lists_is_found(tmp_path: Path) -> None:
    lines = (real_lists("nuswide21") / "train.txt").read_text().splitlines()
    lines[4_000] = " ".join([lines[4_000].split()[0], *"0" * 21])
    train = read_list(write_lines(tmp_path / "train.txt", lines), bits(21))
    query = read_list(real_lists("nuswide21") / "query.txt", bits(21))
    assert find_unlabelled({"train": train, "query": query}) == {"without a label in train": (train.paths[4_000],)}
