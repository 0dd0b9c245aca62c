from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dpq.errors import InputError
from dpq.protocols.base import SplitName
from dpq.protocols.listed.listing import Listing, Published, find_leaks, find_unlabelled, list_digest
from dpq.protocols.listed.lists import (
    MAX_BYTES,
    MAX_LINE,
    LabelForm,
    Listed,
    bits,
    column,
    column_or_one_hot,
    mapped,
    read_list,
)
from tests.dpq.protocols.miniatures import real_lists, write_lines

CLASS_IDS = mapped((339, 502, 12), "the class ids of the 3 classes")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return lambda *lines: write_lines(tmp_path / "train.txt", lines)


def refusal(path: Path, form: LabelForm, strip_prefix: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        read_list(path, form, strip_prefix=strip_prefix)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith((str(path), f"cannot read {path}"))
    return message.removeprefix(str(path))


def columns(split: Listed) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in split.labels]


# --- what is accepted ----------------------------------------------------------------------------------------


def test_bits(write: Callable[..., Path]) -> None:
    split = read_list(write("b/2.jpg 0 1 1", "a/1.jpg 0 0 0", "a/3.jpg 1 0 0"), bits(3))
    assert split.paths == split.files == ("b/2.jpg", "a/1.jpg", "a/3.jpg")
    assert split.labels.dtype == torch.bool
    assert split.labels.tolist() == [[False, True, True], [False] * 3, [True, False, False]]
    assert (split.source, len(split)) == ("train.txt", 3)


def test_column(write: Callable[..., Path]) -> None:
    split = read_list(write("a.jpg 9", "b.jpg 0", "c.jpg 1"), column(10))
    assert split.labels.shape == (3, 10)
    assert columns(split) == [[9], [0], [1]]


def test_class_ids(write: Callable[..., Path]) -> None:
    split = read_list(write("a.jpg 502", "b.jpg 12", "c.jpg 339"), CLASS_IDS)
    assert split.labels.shape == (3, 3)
    assert columns(split) == [[1], [2], [0]]


def test_a_column_or_all_columns(write: Callable[..., Path]) -> None:
    split = read_list(write("a.jpg 0", "b.jpg 0 1 0 0", "c.jpg 1", "d.jpg 3", "e f.jpg 0 0 0 1"), column_or_one_hot(4))
    assert columns(split) == [[0], [1], [1], [3], [3]]
    assert split.paths[-1] == "e f.jpg"


@pytest.mark.parametrize("packed", [False, True])
def test_how_the_text_is_written_does_not_matter(tmp_path: Path, packed: bool) -> None:
    text = "\ufeff# a comment\r\n\r\na/ä.jpg 0 1 \t\r\n   \n  # another\n./b\\c//2.jpg\t1  0\n\n\nd.jpg 0 0"
    path = tmp_path / "list.txt"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    split = read_list(path, bits(2))
    assert split.paths == ("a/ä.jpg", "b/c/2.jpg", "d.jpg")
    assert columns(split) == [[1], [0], []]


@pytest.mark.parametrize(("form", "labels"), [(bits(3), "0 1 0"), (column(3), "1")])
def test_paths_may_hold_blanks(write: Callable[..., Path], form: LabelForm, labels: str) -> None:
    split = read_list(write(f"my pictures/one 1 and  two.jpg {labels}"), form)
    assert split.paths == ("my pictures/one 1 and  two.jpg",)
    assert columns(split) == [[1]]


@pytest.mark.parametrize(
    ("prefix", "listed"),
    [
        ("/store/me/nus", "/store/me/nus/Flickr/1.jpg"),
        ("/store/me/nus/", "/store//me/./nus/Flickr/1.jpg"),
        ("C:\\nus", "C:\\nus\\Flickr\\1.jpg"),
        ("C:/", "C:\\Flickr\\1.jpg"),
        ("\\\\server\\nus", "\\\\server\\nus\\Flickr\\1.jpg"),
        ("/", "/Flickr/1.jpg"),
        ("./data/nus", "data/nus/Flickr/1.jpg"),
        ("", "Flickr/1.jpg"),
    ],
)
def test_prefixes_are_stripped(write: Callable[..., Path], prefix: str, listed: str) -> None:
    assert read_list(write(f"{listed} 0"), column(2), strip_prefix=prefix).paths == ("Flickr/1.jpg",)


def test_a_long_list_is_read_fast(write: Callable[..., Path]) -> None:
    labels = " ".join("01"[i % 2] for i in range(21))
    path = write(*(f"Flickr/folder/{i:04d}_{i}.jpg {labels}" for i in range(190_834)))
    start = time.perf_counter()
    assert len(read_list(path, bits(21))) == 190_834
    assert time.perf_counter() - start < 10  # about 0.8 s on one idle core


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["0"] * 20, "ends in 20 bits (0 or 1) after 'b.jpg'; needs a path and 21 bits"),
        (["0"] * 22, "ends in 22 bits"),
        (["0"] * 20 + ["2"], "ends in 0 bits (0 or 1) after '2'"),
        (["0", "-1"] + ["1"] * 19, "ends in 19 bits (0 or 1) after '-1'"),
        (["01"] + ["1"] * 19, "ends in 19 bits (0 or 1) after '01'"),
        (["01"] + ["1"] * 20, "ends in 20 bits (0 or 1) after '01'"),
        ([], "ends in 0 bits"),
    ],
)
def test_other_bits_are_refused(write: Callable[..., Path], labels: list[str], reason: str) -> None:
    path = write("# comment", "a.jpg " + "0 " * 21, " ".join(["b.jpg", *labels]))
    assert refusal(path, bits(21)).startswith(f":3: {reason}")


def test_bits_without_a_path_are_refused(write: Callable[..., Path]) -> None:
    for count in (1, 2, 3, 4):
        assert refusal(write("1 " * count), bits(2)).startswith(f":1: ends in {count} bits (0 or 1) after ''")


@pytest.mark.parametrize("form", [column(100), column_or_one_hot(100)])
@pytest.mark.parametrize("label", ["100", "-1", "1.0", "07", "+1", "x", "¹", "1_0"])
def test_other_columns_are_refused(write: Callable[..., Path], form: LabelForm, label: str) -> None:
    message = refusal(write("a.jpg 99", f"b.jpg {label}"), form)
    assert message == f":2: label {label!r} is not among the columns 0..99"


@pytest.mark.parametrize("label", ["1", "1000", "0"])
def test_class_ids_without_a_class_are_refused(write: Callable[..., Path], label: str) -> None:
    message = refusal(write("a.jpg 502", f"b.jpg {label}"), CLASS_IDS)
    assert message == f":2: label {label!r} is not among the class ids of the 3 classes"


def test_one_number_is_needed(write: Callable[..., Path]) -> None:
    assert refusal(write("a.jpg"), column(3)) == ":1: 'a.jpg' has no label; needs a path and one number"
    assert ":1: 'a.jpg 1 2' ends in several numbers" in refusal(write("a.jpg 1 2"), column(3))
    assert ":1: '1 2' ends in several numbers" in refusal(write("1 2"), column(3))


@pytest.mark.parametrize("row", ["0 0 0 0", "1 0 1 0"])
def test_one_hot_means_one(write: Callable[..., Path], row: str) -> None:
    found = row.count("1")
    assert refusal(write(f"a.jpg {row}"), column_or_one_hot(4)) == f":1: has {found} of 4 bits set; needs exactly one"


@pytest.mark.parametrize("row", ["0 1 0", "0 1 0 0 0"])
def test_one_hot_needs_all_columns(write: Callable[..., Path], row: str) -> None:
    assert f"ends in {len(row.split())} bits" in refusal(write(f"a.jpg {row}"), column_or_one_hot(4))


@pytest.mark.parametrize("listed", ["/a/1.jpg", "\\a\\1.jpg", "\\\\server\\a.jpg", "C:\\a.jpg", "c:/a.jpg", "c:a.jpg"])
def test_absolute_paths_are_refused(write: Callable[..., Path], listed: str) -> None:
    message = refusal(write("a.jpg 0", f"{listed} 0"), column(2))
    assert message == f":2: path {listed!r} is absolute; strip the prefix that ends at the data root"


@pytest.mark.parametrize(
    "listed", ["../a.jpg", "a/../../b.jpg", "a\\..\\b.jpg", "a/..", ".", "./", "a\0.jpg", "a\a.jpg"]
)
def test_paths_that_leave_the_root_or_name_nothing_are_refused(write: Callable[..., Path], listed: str) -> None:
    message = refusal(write("a.jpg 0", f"{listed} 0"), column(2))
    assert message == f":2: path {listed!r} names no file below the data root; correct it"


@pytest.mark.parametrize(
    ("prefix", "listed", "reason"),
    [
        ("/store/me", "Flickr/1.jpg", "does not start with the prefix '/store/me/'"),
        ("/store/me", "/store/mean/1.jpg", "does not start with the prefix"),
        ("/store/me", "/store/me", "does not start with the prefix"),
        ("data", "/data/1.jpg", "does not start with the prefix"),
        ("/home", "/home/../1.jpg", "names no file below the data root"),
        ("data", "data/C:/1.jpg", "is absolute"),
    ],
)
def test_other_prefixes_are_refused(write: Callable[..., Path], prefix: str, listed: str, reason: str) -> None:
    message = refusal(write(f"{prefix}/a.jpg 0", f"{listed} 0"), column(2), strip_prefix=prefix)
    assert message.startswith(f":2: path {listed!r} {reason}")


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("a.jpg 0\nb.jpg 0\nä.jpg 0\n".encode("latin-1"))
    assert refusal(path, column(2)).startswith(":3: a byte that is no UTF-8")
    path.write_bytes("a.jpg 0\n".encode("utf-16"))
    assert refusal(path, column(2)).startswith(":1: a byte that is no UTF-8")


def test_long_lines_are_refused(write: Callable[..., Path]) -> None:
    assert len(read_list(write("a" * (MAX_LINE - 2) + " 0"), column(2))) == 1
    assert f":2: has {MAX_LINE + 1} characters" in refusal(write("a 0", "a" * (MAX_LINE - 1) + " 0"), column(2))


@pytest.mark.parametrize("lines", [(), ("", "  "), ("# a.jpg 0",)])
def test_empty_lists_are_refused(write: Callable[..., Path], lines: tuple[str, ...]) -> None:
    assert "lists nothing" in refusal(write(*lines), column(2))


def test_unreadable_lists_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.txt", column(2))
    assert "Is a directory" in refusal(tmp_path, column(2))


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    packed = gzip.compress(b"".join(b"a%d.jpg 0\n" % i for i in range(1000)))
    for damaged in (packed[:-20], packed[:-8] + b"\0" * 8, packed[:20] + b"\xff" * 20 + packed[40:], packed + b"more"):
        path.write_bytes(damaged)
        assert "get it again" in refusal(path, column(2))


def test_what_unpacks_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(b"\n" * (MAX_BYTES + 1), compresslevel=1))
    assert f"more than {MAX_BYTES} bytes when unpacked" in refusal(path, column(2))


# --- defects and digests -------------------------------------------------------------------------------------


def listed(*lines: str, source: str = "list.txt") -> Listed:
    paths = tuple(line.split()[0] for line in lines)
    labels = torch.tensor([[bit == "1" for bit in line.split()[1:]] for line in lines])
    return Listed(paths, labels, source, paths)


def test_defects() -> None:
    train = listed("a 1 0", "d 0 0", "b 0 1", "c 1 0", "b 0 1")
    query = listed("q 1 0", "c 1 0", "b 0 1", "r 1 0", "q 1 0", "q 1 0", "r 1 0")
    database = listed("a 1 0", "x 0 0", "x 0 0", "c 1 0", "e 0 0")
    splits: dict[SplitName, Listed] = {"train": train, "query": query, "database": database}
    assert find_leaks(splits) == {
        "in both train and query": ("b", "c"),
        "in both query and database": ("c",),
        "more than once in train": ("b",),
        "more than once in query": ("q", "r"),
        "more than once in database": ("x",),
    }
    assert find_unlabelled(splits) == {"without a label in train": ("d",), "without a label in database": ("e", "x")}


def test_no_defects_without_a_database() -> None:
    splits: dict[SplitName, Listed] = {"train": listed("a 1"), "query": listed("b 1")}
    assert find_leaks(splits) == find_unlabelled(splits) == {}


def test_digest_is_of_file_names_and_labels_alone() -> None:
    expected = hashlib.sha256(b"a.jpg 01\nb.jpg 10\n").hexdigest()
    assert list_digest(listed("x/b.jpg 1 0", "x/a.jpg 0 1")) == expected
    assert list_digest(listed("a.jpg 0 1", "y/z/b.jpg 1 0", source="other")) == expected
    assert list_digest(listed("x/b.jpg 1 0", "x/a.jpg 1 1")) != expected
    assert list_digest(listed("x/b.jpg 1 0", "x/c.jpg 0 1")) != expected


@pytest.fixture
def listing() -> Listing:
    train, query = listed("a 1 0", "b 0 1"), listed("q 1 1")
    published = Published(
        sizes={"train": 2, "query": 1, "database": 3},
        labels_per_image={"train": 1.0, "query": 2.0},
        per_class={"train": 1},
        digests={"train": list_digest(train), "query": list_digest(query)},
    )
    splits: dict[SplitName, Listed] = {"train": train, "query": query, "database": listed("a 1 0", "b 0 1", "c 1 1")}
    return Listing("made-up", ("x", "y"), splits, published, cut=None)


def test_as_published(listing: Listing) -> None:
    assert listing.departures() == ()
    assert listing.shortfall() == {"train": 0, "query": 0, "database": 0}
    assert list_digest(listing.splits["query"]) == hashlib.sha256(b"q 11\n").hexdigest()


def replaced(listing: Listing, split: SplitName, *lines: str) -> Listing:
    return replace(listing, splits={**listing.splits, split: listed(*lines)})


def test_missing_images_are_counted(listing: Listing) -> None:
    fewer = replaced(listing, "database", "a 1 0")
    assert fewer.departures() == ("database: images 1, published 3",)
    assert fewer.shortfall() == {"train": 0, "query": 0, "database": 2}
    assert replaced(listing, "query", "q 1 1", "r 1 1").shortfall()["query"] == -1


def test_other_images_and_labels_are_told(listing: Listing) -> None:
    other_image = replaced(listing, "train", "a 1 0", "z 0 1").departures()
    assert [line.split()[1] for line in other_image] == ["SHA-256"]
    other_label = replaced(listing, "train", "a 1 0", "b 1 1").departures()
    assert other_label[:2] == (
        "train: labels per image 1.5, published 1.0",
        "train: images per class 1 to 2, published 1",
    )
    assert other_label[2].startswith("train: SHA-256")


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 paths, 1 label rows, 2 files"):
        Listed(("a", "b"), torch.ones(1, 2, dtype=torch.bool), "list.txt", ("a", "b"))


# --- the lists of DQN, which are not used but are a known case of everything that goes wrong -----------------


def test_real_lists_with_defects() -> None:
    folder = real_lists("nuswide21_dqn")
    train, query = (read_list(folder / f"{name}.txt", bits(21)) for name in ("train", "query"))
    assert (len(train), len(query)) == (10_500, 2_000)
    assert {what: len(paths) for what, paths in find_leaks({"train": train, "query": query}).items()} == {
        "in both train and query": 129,
        "more than once in query": 8,
    }
    assert all(path.startswith("images/") for path in train.paths + query.paths)
