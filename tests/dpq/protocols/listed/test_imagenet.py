from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpq.errors import InputError
from dpq.protocols.listed.imagenet import PUBLISHED, PUBLISHED_HASHNET, list_imagenet100, list_imagenet100_hashnet
from dpq.protocols.listed.imagenet_layout import TRAINING, VALIDATION, read_classes, wnids_by_column
from dpq.protocols.listed.listing import Listing, find_leaks, find_unlabelled, list_digest
from dpq.protocols.listed.lists import column, read_list
from tests.dpq.protocols.miniatures import (
    IMAGENET_CLASSES,
    IMAGENET_SIZES,
    real_lists,
    write_lines,
    write_mini_imagenet,
)

WNIDS = tuple(wnid for wnid, _ in IMAGENET_CLASSES)
Lister = Callable[..., Listing]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mini_imagenet(tmp_path)
    return tmp_path


@pytest.fixture
def hashnet(tmp_path: Path) -> Path:
    write_mini_imagenet(tmp_path, hashnet=True)
    return tmp_path


def refusal(lister: Lister, root: Path, strip_prefix: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        lister(root, strip_prefix=strip_prefix)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    write_lines(path, change(path.read_text().splitlines()))


def names(files: tuple[str, ...]) -> list[str]:
    return [file.rpartition("/")[2] for file in files]


# --- both draws ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lister", "flag", "name"),
    [(list_imagenet100, False, "imagenet100"), (list_imagenet100_hashnet, True, "imagenet100-hashnet")],
)
def test_what_the_listing_says(tmp_path: Path, lister: Lister, flag: bool, name: str) -> None:
    write_mini_imagenet(tmp_path, hashnet=flag)
    found = lister(tmp_path)
    assert (found.protocol, found.cut, found.further_cuts) == (name, 1000, (5000,))
    assert found.classes == WNIDS
    for split, size in IMAGENET_SIZES.items():
        assert len(found.splits[split]) == size
        assert found.splits[split].labels.sum(dim=0).tolist() == [size // 4] * 4
        assert found.splits[split].labels.sum(dim=1).eq(1).all()
        assert found.shortfall()[split] == found.published.sizes[split] - size
    assert found.departures() != ()
    assert find_leaks(found.splits) == find_unlabelled(found.splits) == {}
    assert set(names(found.splits["train"].paths)) < set(names(found.splits["database"].paths))
    for split in (found.splits["train"], found.splits["database"]):
        for path, row in zip(split.paths, split.labels.int().argmax(dim=1), strict=True):
            assert names((path,))[0].startswith(f"{WNIDS[row]}_")


def layouts() -> list[tuple[str, str]]:
    training = [layout for layout in TRAINING if layout != "{path}"]
    validation = [layout for layout in VALIDATION if layout != "{path}"]
    return [(training[0], layout) for layout in validation] + [(layout, validation[0]) for layout in training]


@pytest.mark.parametrize(("training", "validation"), layouts())
@pytest.mark.parametrize(("lister", "flag"), [(list_imagenet100, False), (list_imagenet100_hashnet, True)])
def test_official_layouts_are_found(tmp_path: Path, lister: Lister, flag: bool, training: str, validation: str) -> None:
    write_mini_imagenet(tmp_path, flag, training, validation)
    found = lister(tmp_path)
    for split in found.splits.values():
        assert names(split.files) == names(split.paths)
        assert all((tmp_path / file).is_file() for file in split.files)
    wnid, file = (
        found.classes[int(found.splits["query"].labels[0].int().argmax())],
        names(found.splits["query"].paths)[0],
    )
    assert found.splits["query"].files[0] == validation.format(wnid=wnid, file=file)


def test_hashnets_own_layout_is_found(tmp_path: Path) -> None:
    write_mini_imagenet(tmp_path, True, "image/{file}", "val_image/{file}")
    found = list_imagenet100_hashnet(tmp_path)
    for split in found.splits.values():
        assert split.files == split.paths
        assert all((tmp_path / file).is_file() for file in split.files)


def test_most_of_the_images_decide_the_layout(root: Path) -> None:
    train = list_imagenet100(root).splits["train"]
    for path, file in zip(train.paths[:30], train.files[:30], strict=True):
        (root / path).parent.mkdir(exist_ok=True)
        shutil.copy(root / file, root / path)
    assert list_imagenet100(root).splits["train"].files == train.files
    for file in train.files[:60]:
        (root / file).unlink()
    assert list_imagenet100(root).splits["train"].files == train.paths


def test_digests_do_not_depend_on_the_layout(tmp_path: Path) -> None:
    found = []
    for i, (training, validation) in enumerate((("train/{wnid}/{file}", "val/{file}"), ("{wnid}/{file}", "{file}"))):
        write_mini_imagenet(tmp_path / str(i), False, training, validation)
        found.append(list_imagenet100(tmp_path / str(i)))
    for split in IMAGENET_SIZES:
        assert list_digest(found[0].splits[split]) == list_digest(found[1].splits[split])


@pytest.mark.parametrize(
    ("lister", "flag", "folder"),
    [(list_imagenet100, False, "imagenet100"), (list_imagenet100_hashnet, True, "imagenet100_hashnet")],
)
def test_lists_may_lie_in_the_root(tmp_path: Path, lister: Lister, flag: bool, folder: str) -> None:
    write_mini_imagenet(tmp_path, hashnet=flag)
    expected = lister(tmp_path)
    for path in (tmp_path / folder).iterdir():
        path.rename(tmp_path / path.name)
    assert list_digest(lister(tmp_path).splits["train"]) == list_digest(expected.splits["train"])


def test_mini_images_differ_in_size_and_colour(root: Path) -> None:
    found = list_imagenet100(root)
    sizes = set()
    for file, row in zip(found.splits["database"].files, found.splits["database"].labels, strict=True):
        with Image.open(root / file) as image:
            sizes.add(image.size)
            hue = np.median(np.asarray(image.convert("HSV"))[..., 0].astype(int))
        assert abs((hue - int(row.int().argmax()) * 64 + 128) % 256 - 128) < 4
    assert len(sizes) > 50


# --- DPQ's draw ----------------------------------------------------------------------------------------------


def test_the_database_is_the_training_folders(root: Path) -> None:
    (root / "train/n09999999").mkdir()
    shutil.copy(root / list_imagenet100(root).splits["train"].files[0], root / "train/n09999999/n09999999_1.JPEG")
    (root / f"train/{WNIDS[0]}/.hidden.JPEG").write_bytes(b"")
    (root / f"train/{WNIDS[0]}/notes.txt").write_bytes(b"")
    database = list_imagenet100(root).splits["database"]
    expected = sorted(f"{wnid}/{path.name}" for wnid in WNIDS for path in (root / "train" / wnid).glob("n*.JPEG"))
    assert list(database.paths) == expected
    assert database.files == tuple(f"train/{path}" for path in expected)


def test_a_listed_database_goes_before_the_folders(root: Path) -> None:
    lines = (root / "imagenet100/train.txt").read_text().splitlines()
    (root / "imagenet100/database.txt.gz").write_bytes(gzip.compress("\n".join(lines[5:12]).encode()))
    found = list_imagenet100(root)
    assert found.splits["database"].paths == found.splits["train"].paths[5:12]
    assert found.splits["database"].files == found.splits["train"].files[5:12]
    assert found.splits["database"].labels.equal(found.splits["train"].labels[5:12])


def test_without_images_the_lists_still_say_what_belongs(tmp_path: Path) -> None:
    write_mini_imagenet(tmp_path / "whole")
    lists = shutil.copytree(tmp_path / "whole/imagenet100", tmp_path / "lists")
    shutil.copy(lists / "train.txt", lists / "database.txt")
    found = list_imagenet100(lists)
    assert found.splits["train"].files == tuple(f"train/{path}" for path in found.splits["train"].paths)
    assert found.splits["query"].files == tuple(f"val/{path}" for path in found.splits["query"].paths)


def test_listed_paths_may_hold_the_folders_of_the_official_layout(root: Path) -> None:
    plain = list_imagenet100(root)
    for name, folder in (("train", "train"), ("query", "val")):
        path = root / f"imagenet100/{name}.txt"
        write_lines(path, [f"/elsewhere/{folder}/{line}" for line in path.read_text().splitlines()])
    found = list_imagenet100(root, strip_prefix="/elsewhere")
    assert found.splits["database"].files == plain.splits["database"].files
    assert sorted(found.splits["train"].files) == sorted(plain.splits["train"].files)


@pytest.mark.parametrize("emptied", [False, True])
def test_incomplete_training_folders_are_refused(root: Path, emptied: bool) -> None:
    folder = root / "train" / WNIDS[2]
    shutil.rmtree(folder)
    if emptied:
        folder.mkdir()
    message = refusal(list_imagenet100, root)
    assert str(folder) in message
    assert "image-net.org" in message
    assert ("holds no image" in message) == emptied


def test_classes_file_gives_the_order(root: Path) -> None:
    expected = list_imagenet100(root)
    order = (2, 0, 3, 1)
    lines = [f"{at} {IMAGENET_CLASSES[i][0]} {IMAGENET_CLASSES[i][1]}" for at, i in enumerate(order)]
    write_lines(root / "imagenet100/classes.txt", ["# column, wnid, class id", *lines])
    found = list_imagenet100(root)
    assert found.classes == tuple(WNIDS[i] for i in order)
    for split in IMAGENET_SIZES:
        assert found.splits[split].labels.equal(expected.splits[split].labels[:, order])
        assert found.splits[split].files == expected.splits[split].files


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 n02487347 373", "is not '1 <wnid> <class id 0..999>'"),
        ("1 n02487347 1000", "is not '1 <wnid>"),
        ("1 n02487347 -1", "is not '1 <wnid>"),
        ("1 cat 373", "is not '1 <wnid>"),
        ("1 n024873470 373", "is not '1 <wnid>"),
        ("1 n02487347", "is not '1 <wnid>"),
        ("1 n02487347 373 cat", "is not '1 <wnid>"),
        ("1 n02389026 373", "repeats a class"),
        ("1 n02487347 339", "repeats a class"),
    ],
)
def test_other_classes_files_are_refused(root: Path, line: str, reason: str) -> None:
    path = write_lines(root / "imagenet100/classes.txt", ["0 n02389026 339", line])
    assert f"{path}:2: {line!r} {reason}" in refusal(list_imagenet100, root)


def test_classes_file_of_other_classes_is_refused(root: Path) -> None:
    lines = [f"{at} {WNIDS[at - 1]} {number}" for at, (_, number) in enumerate(IMAGENET_CLASSES)]
    write_lines(root / "imagenet100/classes.txt", lines)
    assert f"train.txt: images of {WNIDS[0]} have the label of {WNIDS[3]}" in refusal(list_imagenet100, root)
    write_lines(root / "imagenet100/classes.txt", lines[:3])
    assert "train.txt:4: label '0' is not among the class ids of the 3 classes" in refusal(list_imagenet100, root)


def test_queries_of_other_classes_are_refused(root: Path) -> None:
    edit(root / "imagenet100/query.txt", lambda lines: [lines[0], "ILSVRC2012_val_00000001.JPEG 1"])
    message = refusal(list_imagenet100, root)
    assert f"{root / 'imagenet100/query.txt'}:2: label '1' is not among the class ids of the 4 classes" in message


def test_class_ids_beyond_ilsvrc_are_refused(root: Path) -> None:
    edit(root / "imagenet100/train.txt", lambda lines: [*lines[:2], "n02389026/n02389026_1.JPEG 1000"])
    assert "train.txt:3: label '1000' is not among the columns 0..999" in refusal(list_imagenet100, root)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("n02389026/n02389026_1.JPEG 502", "has label 502, unlike other images of its class"),
        ("n02389026/n02389026_1.JPEG 7", "has label 7, unlike other images of its class"),
        ("n09999999/n09999999_1.JPEG 502", "has label 502, unlike other images of its class or like those of another"),
        ("n02389026/ILSVRC2012_val_00000015.JPEG 339", "is no training image <wnid>_<number>.JPEG"),
        ("n02389026/n02389026.JPEG 339", "is no training image"),
    ],
)
def test_training_images_must_tell_their_class(root: Path, line: str, reason: str) -> None:
    edit(root / "imagenet100/train.txt", lambda lines: [*lines, line])
    assert f"train.txt: {line.split()[0]!r} {reason}" in refusal(list_imagenet100, root)


def test_a_listed_database_of_other_classes_is_refused(root: Path) -> None:
    write_lines(root / "imagenet100/database.txt", [f"{WNIDS[1]}/{WNIDS[1]}_1.JPEG {IMAGENET_CLASSES[0][1]}"])
    message = refusal(list_imagenet100, root)
    assert f"database.txt: images of {WNIDS[1]} have the label of {WNIDS[0]}" in message


def test_lists_with_the_authors_folders(root: Path) -> None:
    expected = list_imagenet100(root)
    for name in ("train", "query"):
        edit(root / f"imagenet100/{name}.txt", lambda lines: [f"/ssd/ILSVRC/{line}" for line in lines])
    found = list_imagenet100(root, strip_prefix="/ssd/ILSVRC/")
    for split in IMAGENET_SIZES:
        assert found.splits[split].paths == expected.splits[split].paths
        assert found.splits[split].files == expected.splits[split].files
    assert "train.txt:1: path '/ssd/ILSVRC/n02389026/n02389026_5.JPEG' is absolute" in refusal(list_imagenet100, root)


@pytest.mark.parametrize("missing", ["train.txt", "query.txt"])
def test_missing_lists_say_where_to_get_them(root: Path, missing: str) -> None:
    (root / "imagenet100" / missing).unlink()
    message = refusal(list_imagenet100, root)
    for words in ("train.txt, query.txt", str(root / "imagenet100"), "cfm-uestc/DPQ", "data/imagenet", "image-net.org"):
        assert words in message


# --- HashNet's draw ------------------------------------------------------------------------------------------


def test_the_published_form_with_all_columns(hashnet: Path) -> None:
    expected = list_imagenet100_hashnet(hashnet)

    def one_hot(lines: list[str]) -> list[str]:
        rows = [line.split() for line in lines]
        prefix = "./data/imagenet"
        return [" ".join([f"{prefix}/{path}", *(str(int(i == int(at))) for i in range(100))]) for path, at in rows]

    folder = hashnet / "imagenet100_hashnet"
    for name in ("train.txt", "query.txt"):
        edit(folder / name, one_hot)
    database = one_hot(gzip.decompress((folder / "database.txt.gz").read_bytes()).decode().splitlines())
    write_lines(folder / "database.txt", database)
    found = list_imagenet100_hashnet(hashnet, strip_prefix="data/imagenet")
    assert found.classes == expected.classes
    for split in IMAGENET_SIZES:
        assert found.splits[split].paths == expected.splits[split].paths
        assert found.splits[split].files == expected.splits[split].files
        assert found.splits[split].labels.equal(expected.splits[split].labels)
    assert found.splits["database"].source == "database.txt"
    unstripped = list_imagenet100_hashnet(hashnet)
    assert unstripped.splits["train"].files == expected.splits["train"].files
    assert list_digest(unstripped.splits["train"]) == list_digest(expected.splits["train"])


@pytest.mark.parametrize("missing", ["train.txt", "query.txt", "database.txt.gz"])
def test_hashnet_needs_all_three_lists(hashnet: Path, missing: str) -> None:
    (hashnet / "imagenet100_hashnet" / missing).unlink()
    message = refusal(list_imagenet100_hashnet, hashnet)
    for words in ("train.txt, query.txt, database.txt", "thuml/HashNet", "caffe/data/imagenet", "image-net.org"):
        assert words in message
    assert str(hashnet / "imagenet100_hashnet") in message


def test_hashnet_queries_beyond_the_database_are_refused(hashnet: Path) -> None:
    path = hashnet / "imagenet100_hashnet/query.txt"
    edit(path, lambda lines: [*lines, "val_image/ILSVRC2012_val_00049999.JPEG 4"])
    message = refusal(list_imagenet100_hashnet, hashnet)
    assert "query.txt: 'val_image/ILSVRC2012_val_00049999.JPEG' has a label above 3" in message
    edit(path, lambda lines: [*lines[:-1], "val_image/ILSVRC2012_val_00049999.JPEG 100"])
    assert "query.txt:25: label '100' is not among the columns 0..99" in refusal(list_imagenet100_hashnet, hashnet)


def test_hashnet_columns_without_images_are_refused(hashnet: Path) -> None:
    edit(hashnet / "imagenet100_hashnet/train.txt", lambda lines: [*lines, "image/n09999999_1.JPEG 5"])
    assert "no image has label 4, but some have a higher one" in refusal(list_imagenet100_hashnet, hashnet)


def test_hashnet_lists_that_contradict_each_other_are_refused(hashnet: Path) -> None:
    edit(hashnet / "imagenet100_hashnet/train.txt", lambda lines: [f"image/{WNIDS[0]}_1.JPEG 1"])
    message = refusal(list_imagenet100_hashnet, hashnet)
    assert message.startswith("database.txt.gz: 'image/")
    assert "unlike other images of its class or like those of another" in message


# --- the full lists ------------------------------------------------------------------------------------------


def check_published(found: Listing, train: int, query: int) -> None:
    assert len(found.classes) == 100
    assert (len(found.splits["train"]), len(found.splits["query"])) == (100 * train, 5_000)
    assert found.splits["train"].labels.sum(dim=0).tolist() == [train] * 100
    assert found.splits["query"].labels.sum(dim=0).tolist() == [query] * 100
    assert find_leaks(found.splits) == find_unlabelled(found.splits) == {}


def test_real_lists(tmp_path: Path) -> None:
    folder = real_lists("imagenet100")
    (tmp_path / "imagenet100").symlink_to(folder)
    for line in (folder / "train.txt").read_text().splitlines():
        path = tmp_path / "train" / line.split()[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = list_imagenet100(tmp_path)
    check_published(found, train=100, query=50)
    assert found.shortfall() == {"train": 0, "query": 0, "database": 118_564}
    assert found.departures() == ("database: images 10000, published 128564",)
    assert {name: list_digest(found.splits[name]) for name in ("train", "query")} == PUBLISHED.digests
    assert list_digest(found.splits["database"]) == list_digest(found.splits["train"])


def test_real_classes_are_in_the_order_of_the_training_list() -> None:
    folder = real_lists("imagenet100")
    listed = wnids_by_column(read_list(folder / "train.txt", column(1000)))
    assert list(listed.items()) == list(read_classes(folder / "classes.txt").items())


def test_real_hashnet_lists() -> None:
    folder = real_lists("imagenet100_hashnet")
    found = list_imagenet100_hashnet(folder.parent)
    check_published(found, train=130, query=50)
    assert len(found.splits["database"]) == 128_503
    assert found.departures() == ()
    assert {name: list_digest(found.splits[name]) for name in PUBLISHED_HASHNET.sizes} == PUBLISHED_HASHNET.digests
    assert set(found.splits["train"].paths) < set(found.splits["database"].paths)
    table = [line.split() for line in (folder / "classes.txt").read_text().splitlines()]
    assert [(str(at), wnid) for at, wnid in enumerate(found.classes)] == [tuple(row) for row in table]
    assert (
        found.splits["train"].files[0]
        == f"train/{found.splits['train'].paths[0][6:15]}/{found.splits['train'].paths[0][6:]}"
    )


def test_real_draws_share_few_classes() -> None:
    ours = read_classes(real_lists("imagenet100") / "classes.txt").values()
    theirs = list_imagenet100_hashnet(real_lists("imagenet100_hashnet").parent).classes
    assert len(set(ours) & set(theirs)) == 13
