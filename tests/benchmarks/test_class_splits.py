"""Queries of unseen classes from end to end, and tables that average over class splits."""

import csv

import pytest

from benchmarks.__main__ import main
from benchmarks.aggregate import group_by_setting, summarise
from benchmarks.class_splits import class_split_lines
from benchmarks.records import read_record
from benchmarks.tables import main_table
from dpq.protocols import PROTOCOLS
from dpq.protocols.cifar10_unseen import load_cifar10_unseen, unseen_classes
from tests.benchmarks.conftest import TINY, make_record
from tests.dpq.protocols.test_cifar10 import SIZES, files, write_folder


@pytest.fixture
def run(configs, tmp_path, monkeypatch):
    """Run `unseen`, a tiny experiment of two class splits; returns the exit status."""
    root = write_folder(tmp_path / "data" / "cifar10-jpeg", files()).parent
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(
        PROTOCOLS, "cifar10-unseen", lambda root, cache, options, seed: load_cifar10_unseen(root, cache, seed, SIZES)
    )
    text = TINY.replace('"digits"', '"cifar10-unseen"\nsplit_seeds = [0, 2]').replace("size = 50", "size = 10")
    (configs / "unseen.toml").write_text(text)

    def start(*arguments):
        output = str(tmp_path / "results")
        return main(["run", "unseen", "--data-root", str(root), "--output", output, *arguments])

    return start


def records(tmp_path):
    return [read_record(path) for path in sorted((tmp_path / "results/unseen/runs").glob("*.json"))]


def test_every_split_is_run_and_the_table_averages_over_them(run, tmp_path, caplog):
    assert run("--method", "rq", "dpq", "label-code") == 0
    made = records(tmp_path)
    assert sorted((r["method"], r["config"]["split_seed"]) for r in made) == [
        (method, seed) for method in ("dpq", "label-code", "rq") for seed in (0, 2)
    ]
    for record in made:
        assert record["data"]["unseen"] == list(unseen_classes(record["config"]["split_seed"]))
        assert (record["data"]["train"], record["data"]["query"], record["data"]["database"]) == (21, 6, 15)
        assert record["classification_accuracy"] is None
        assert record["queries_without_relevant"] == 0
    label_code = next(r for r in made if r["method"] == "label-code")
    assert label_code["backbone"]["embedding_dim"] == 8  # the seven seen classes and the confidence

    output = ["--output", str(tmp_path / "results")]
    assert main(["table", "unseen", *output]) == main(["figures", "unseen", *output]) == 0
    text = (tmp_path / "results/unseen/table.md").read_text()
    assert text.count("ours, n = 2 in 2 class splits") == 3
    assert "bird, dog, frog (split 0); automobile, deer, truck (split 2)" in text
    assert "n is the number of class splits times seeds" in text
    assert "| paper" not in text
    assert "Values of the papers" not in text
    rows = list(csv.DictReader((tmp_path / "results/unseen/table.csv").open()))
    assert {(row["seeds"], row["splits"]) for row in rows} == {("2", "2")}
    for row in rows:
        of_row = [record for record in made if record["id"] in row["records"]]
        values = [entry["map"] for r in of_row for entry in r["lengths"] if str(entry["bits"]) == row["bits"]]
        assert float(row["map"]) == pytest.approx(sum(values) / 2, abs=1e-6)

    with caplog.at_level("INFO"):
        assert run("--method", "rq", "dpq", "label-code") == 0
    assert caplog.text.count("nothing to do") == 2


def test_one_split_can_be_run_alone(run, tmp_path):
    assert run("--method", "rq", "--split-seeds", "1") == 0
    (record,) = records(tmp_path)
    assert record["data"]["unseen"] == list(unseen_classes(1))
    assert main(["table", "unseen", "--output", str(tmp_path / "results")]) == 0
    assert "| ours, n = 1 " in (tmp_path / "results/unseen/table.md").read_text()


def test_a_split_that_is_not_there_is_refused_before_the_others_are_run(run, tmp_path, capsys):
    assert run("--method", "rq", "--split-seeds", "0,3") == 2
    assert "class splits 0 to 2; got 3" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def class_split(split, seed, maps):
    record = make_record(seed=seed, maps=maps) | {"protocol": "cifar10-unseen", "id": f"split{split}-seed{seed}"}
    own = {"fingerprint": str(split), "fingerprint_of_all": "a", "seen": [], "unseen": list(unseen_classes(split))}
    return record | {"data": record["data"] | own, "config": record["config"] | {"split_seed": split}}


def test_n_counts_splits_times_seeds_and_the_deviation_is_over_both():
    made = [class_split(split, seed, (split / 10, seed / 10)) for split in (0, 1, 2) for seed in (0, 1, 2)]
    assert len(group_by_setting(made)) == 1
    eight, sixteen = summarise(made).to_dict("records")
    for row in (eight, sixteen):
        assert (row["seeds"], row["splits"]) == (9, 3)
        assert row["map"] == pytest.approx(0.1)
        assert row["map_sd"] == pytest.approx((0.06 / 8) ** 0.5)
    assert main_table(made).iloc[0]["source"] == "ours, n = 9 in 3 class splits"


def test_class_splits_of_other_images_are_other_settings():
    one, other = class_split(0, 0, (0.1, 0.2)), class_split(1, 0, (0.3, 0.4))
    other["data"]["fingerprint_of_all"] = "b"
    assert len(group_by_setting([one, other])) == 2


def test_other_draws_of_the_same_classes_are_other_settings():
    """Nothing says that they are of the same images."""
    other = make_record()
    other["config"]["split_seed"] = 1
    assert len(group_by_setting([make_record(), other])) == 2
    assert class_split_lines([make_record(), other]) == []
