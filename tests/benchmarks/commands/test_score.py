import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.commands.results import make_all
from benchmarks.records.store import read_measured, write_brought
from dpq import InputError

ASKED = ["score", "digits", "--codes", "codes.npz", "--name", "mine"]


@pytest.fixture(autouse=True)
def codes(tmp_path, monkeypatch):
    """Random bits of all digits."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("codes.npz", query_bits=rng.random((200, 8)) < 0.5, database_bits=rng.random((1097, 8)) < 0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "digits"], "give --lists DIR for the lists of images, or --codes FILE --name NAME"),
        ([*ASKED, "--lists", "lists"], "give --lists DIR for the lists of images, or --codes FILE --name NAME"),
        (ASKED[:4], "--name must be letters, digits and '.+-', as it is the record's and a row's; got None"),
        ([*ASKED[:5], "../mine"], "got '../mine'"),
        ([*ASKED[:5], "-mine"], "expected one argument"),
        (["score", "digit", *ASKED[2:]], "unknown protocol 'digit'; choose one of digits, cifar10"),
        ([*ASKED, "--experiment", "cifar10"], "cifar10 is no experiment on digits; name another --experiment"),
        ([*ASKED, "--score", "cosine"], "unknown score 'cosine'; choose one of inner, l2, symmetric"),
        ([*ASKED, "--bits", "0"], "each from 1 to 1024"),
        ([*ASKED, "--split-seed", "-1"], "expected a number that is at least 0, got '-1'"),
        (["score", "digits", "--codes", "none.npz", "--name", "mine"], "no file none.npz; give an .npz file"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(arguments, words, tmp_path, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_a_score_is_printed_and_published_pages_refuse_it(capsys):
    assert main([*ASKED, "--bits", "4,8", "--output", "mine"]) == 0
    first, *lines, path = capsys.readouterr().out.splitlines()
    assert first.startswith("digits: 200 queries, 1,097 database images; mAP over the whole database, expected over")
    assert [line.split(": mAP ")[0] for line in lines] == [f"mine, {b} bits, Hamming distance" for b in (4, 8)]
    assert all(" [0." in line and "by the order of ties" in line for line in lines)
    record = read_measured(Path(path))
    write_brought(Path("mine/cifar10/runs", f"{record.id}.json"), record.raw | {"experiment": "cifar10"})
    with pytest.raises(InputError, match=rf"cifar10/runs/{record.id}.json is of codes that were brought, and these"):
        make_all(Path("mine"))


def test_codes_of_another_split_are_refused_by_their_ids(capsys):
    main(["score", "digits", "--lists", "lists", "--split-seed", "1"])
    with open("lists/query.csv", newline="") as file:
        ids = [int(line["index"]) for line in csv.DictReader(file)]
    with np.load("codes.npz") as arrays:
        np.savez("codes.npz", **arrays, query_ids=ids)
    capsys.readouterr()
    assert main(ASKED) == 2
    assert "error: the query image of index" in capsys.readouterr().err
    assert main([*ASKED, "--split-seed", "1", "--output", "mine"]) == 0
