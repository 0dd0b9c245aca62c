import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.brought.codes import read_codes
from benchmarks.brought.lists import ImageList
from benchmarks.brought.score import score_codes
from benchmarks.records.record import Brought
from benchmarks.records.store import read_all, read_measured, read_record, read_records, write_brought
from benchmarks.report.intervals import interval_of_mean
from benchmarks.report.study import Study
from benchmarks.report.tables import make_tables
from dpq import InputError
from dpq.codes.additive import decode
from dpq.metrics import average_precision, mean_average_precision

RNG = np.random.default_rng(3)
SIGNS = {"database_bits": RNG.random((30, 12)) < 0.5, "query_bits": RNG.random((7, 12)) < 0.5}
ADDITIVE = {
    "codes": RNG.integers(0, 4, (30, 3)).astype(np.uint8),
    "codebooks": RNG.standard_normal((3, 4, 5)).astype(np.float32),
    "queries": RNG.standard_normal((7, 5)).astype(np.float32),
    "query_codes": RNG.integers(0, 4, (7, 3)).astype(np.uint8),
}


@pytest.fixture
def score(dataset, put, tmp_path):
    """The record of arrays on the made-up images, read again from its file."""

    def run(arrays, data=dataset, **asked):
        given = read_codes(put(**arrays))
        record, path = score_codes(given, "mine", data, 2, experiment="tiny", output=tmp_path / "out", **asked)
        assert read_measured(path) == record
        return record

    return run


def relevance(dataset):
    return (dataset.query.labels.float() @ dataset.database.labels.float().T > 0).numpy()


def by_hamming(bits):
    """Brute force: minus the number of unequal bits of each pair."""
    asked, images = SIGNS["query_bits"][:, :bits], SIGNS["database_bits"][:, :bits]
    return -(asked[:, None] != images[None]).sum(axis=2).astype(float)


def test_binary_codes_rank_by_hamming_distance(score, dataset):
    record = score(SIGNS, bits=(1, 5, 12))
    relevant = relevance(dataset)
    for length in record.lengths:
        scores = by_hamming(length.bits)
        for said, ties in ((length.map, "expected"), (length.map_bounds[0], "worst"), (length.map_bounds[1], "best")):
            assert said == pytest.approx(mean_average_precision(scores, relevant, 20, ties=ties), abs=1e-12)
        assert length.map_ties_index == pytest.approx(mean_average_precision(scores, relevant, 20, ties="index"))
        assert length.map_at["5"] == pytest.approx(mean_average_precision(scores, relevant, 5))
        assert length.distinct_codes == len(np.unique(SIGNS["database_bits"][:, : length.bits], axis=0))
        assert length.bytes_per_image == length.bits / 8
    assert [length.bits for length in record.lengths] == [1, 5, 12]
    assert (record.score, record.brought.kind, record.split_seed, record.cut) == ("inner", "binary", 2, 20)


def test_codes_that_are_all_alike_are_one_tie(score, dataset):
    (length,) = score({name: np.ones_like(bits) for name, bits in SIGNS.items()}).lengths
    expected = mean_average_precision(np.zeros((7, 30)), relevance(dataset), 20)
    assert length.map == pytest.approx(expected, abs=1e-12)
    assert length.distinct_codes == 1


@pytest.mark.parametrize("by", ["inner", "l2", "symmetric"])
def test_additive_codes_rank_by_sums_of_codewords(score, dataset, by):
    record = score(ADDITIVE, bits=(2, 6), score=by)
    for length, levels in zip(record.lengths, (1, 3), strict=True):
        words = decode(ADDITIVE["codes"][:, :levels], ADDITIVE["codebooks"][:levels]).numpy().astype(float)
        asked = ADDITIVE["queries"].astype(float)
        if by == "symmetric":
            asked = decode(ADDITIVE["query_codes"][:, :levels], ADDITIVE["codebooks"][:levels]).numpy().astype(float)
        scores = asked @ words.T if by != "l2" else -((asked[:, None] - words[None]) ** 2).sum(axis=2)
        assert length.map == pytest.approx(mean_average_precision(scores.round(9), relevance(dataset), 20), abs=1e-6)
    assert record.brought.codebook_size == 4
    assert (record.lengths[0].map_asymmetric is None) == (by != "symmetric")


@pytest.mark.parametrize("by", ["inner", "l2"])
def test_embeddings_are_searched_exactly_and_equal_ones_tie(score, dataset, by):
    database = np.round(RNG.standard_normal((30, 3)) * 2)
    database[10:20] = database[:10]
    queries = np.round(RNG.standard_normal((7, 3)) * 2)
    (length,) = score({"database": database, "queries": queries}, score=by).lengths
    scores = queries @ database.T if by == "inner" else -((queries[:, None] - database[None]) ** 2).sum(axis=2)
    assert length.map == pytest.approx(mean_average_precision(scores, relevance(dataset), 20), abs=1e-12)
    assert (length.bits, length.bytes_per_image) == (96, 12)
    assert length.distinct_codes == len(np.unique(database, axis=0)) <= 20


def test_more_embeddings_than_a_byte_counts(score, dataset):
    several = replace(dataset, database=dataset.database.take(torch.arange(30).repeat(10)), cut=None, further_cuts=())
    database = np.arange(300.0)[:, None]
    (length,) = score({"database": database, "queries": np.ones((7, 1))}, several).lengths
    relevant = (several.query.labels.float() @ several.database.labels.float().T > 0).numpy()
    assert length.map == pytest.approx(mean_average_precision(np.tile(database.T, (7, 1)), relevant), abs=1e-12)
    assert length.distinct_codes == 300


def test_intervals_are_over_the_queries(score, dataset):
    record = score(SIGNS)
    each = average_precision(by_hamming(12), relevance(dataset), 20)
    wanted = interval_of_mean(list(map(float, each)))
    assert record.intervals[0] == pytest.approx((max(wanted.low, 0), min(wanted.high, 1)), abs=1e-6)
    one = replace(dataset, query=dataset.query.take(torch.arange(1)))
    assert score(SIGNS | {"query_bits": SIGNS["query_bits"][:1]}, one).intervals == (None,)


def test_rows_in_another_order_give_the_same_numbers(score, dataset):
    plain = score(ADDITIVE, bits=(2, 4, 6), score="symmetric")
    asked, images = RNG.permutation(7), RNG.permutation(30)
    mixed = {
        "codes": ADDITIVE["codes"][images],
        "codebooks": ADDITIVE["codebooks"],
        "queries": ADDITIVE["queries"][asked],
        "query_codes": ADDITIVE["query_codes"][asked],
    }
    names = np.array(dataset.database.names)[images]
    digests = np.array(ImageList.of(dataset, "query").digests)[asked]
    found = score(mixed | {"database_ids": names, "query_ids": digests}, bits=(2, 4, 6), score="symmetric")
    assert found.lengths == plain.lengths
    assert found.id != plain.id
    assert score(mixed, bits=(2, 4, 6), score="symmetric").lengths != plain.lengths


@pytest.mark.parametrize(
    ("arrays", "asked", "words"),
    [
        (SIGNS, {"score": "l2"}, "binary codes are ranked by Hamming distance; leave --score out"),
        (SIGNS, {"bits": (16,)}, "the codes have 12 bits, so no prefix of 16"),
        (ADDITIVE, {"bits": (3,)}, "code lengths must be multiples of 2 bits"),
        (ADDITIVE, {"bits": (2, 8)}, "the codes have 6 bits, so no prefix of 8"),
        ({k: v for k, v in ADDITIVE.items() if k != "query_codes"}, {"score": "symmetric"}, "needs the array query_c"),
        ({"database": np.ones((30, 2)), "queries": np.ones((7, 2))}, {"score": "symmetric"}, "needs the array query_c"),
        ({"database": np.ones((30, 2)), "queries": np.ones((7, 2))}, {"bits": (8,)}, "have no code lengths"),
    ],
)
def test_what_codes_do_not_have_is_refused(score, tmp_path, arrays, asked, words):
    with pytest.raises(InputError, match=words):
        score(arrays, **asked)
    assert not (tmp_path / "out").exists()


def test_a_record_is_marked_and_is_none_of_a_run(score, tmp_path):
    record = score(SIGNS)
    path = tmp_path / f"out/tiny/runs/{record.id}.json"
    table = json.loads(path.read_text())
    assert table["brought"] == {"kind": "binary", "sha256": record.brought.sha256, "dim": 12, "codebook_size": None}
    assert not {"method", "seed", "config", "backbone", "training_log", "seconds"} & set(table)
    with pytest.raises(InputError, match="is of codes that were brought, not of a run"):
        read_record(path)
    assert read_records(tmp_path / "out", "tiny") == []
    assert read_all(tmp_path / "out", "tiny") == [record]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table["brought"].update(kind="guessed"), "brought.kind must be 'additive', 'binary' or"),
        (lambda table: table.update(name="other"), "id must be other-"),
        (lambda table: table["brought"].update(sha256="0" * 64), "id must be mine-"),
        (lambda table: table["intervals"].clear(), "intervals must be one of each of 1 lengths"),
        (lambda table: table["lengths"][0].update(map=0.999), "map must be from"),
        (lambda table: table.update(protocol="cifar10"), "data.name must be 'cifar10'"),
    ],
)
def test_a_changed_record_is_refused(score, tmp_path, change, words):
    record = score(SIGNS)
    path = tmp_path / f"out/tiny/runs/{record.id}.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=words):
        read_measured(path)
    with pytest.raises(ValueError, match=words):
        write_brought(path, table)


def test_evaluate_computes_brought_codes_again(score, tmp_path, capsys):
    for arrays in (SIGNS, ADDITIVE, {"database": RNG.standard_normal((30, 4)), "queries": np.ones((7, 4))}):
        record = score(arrays)
        path = tmp_path / f"out/tiny/runs/{record.id}.json"
        before = path.read_bytes()
        assert main(["evaluate", str(path)]) == 0
        assert "unchanged" in capsys.readouterr().out
        table = json.loads(before)
        table["lengths"][0]["map"], table["intervals"] = 0.123, [None]
        path.write_text(json.dumps(table))
        assert main(["evaluate", str(path)]) == 0
        assert "renewed" in capsys.readouterr().out
        assert read_measured(path) == record
    assert main(["evaluate", str(path), "--compact"]) == 2
    assert "no compact form" in capsys.readouterr().err
    assert main(["evaluate", str(path), "--score", "l2"]) == 0
    assert "by l2 (record, by inner:" in capsys.readouterr().out
    assert main(["evaluate", str(path), "--score", "symmetric"]) == 2
    assert "symmetric score needs codes of the queries" in capsys.readouterr().err


def test_codes_of_another_record_are_refused(score, tmp_path, capsys):
    one, other = score(SIGNS), score(ADDITIVE)
    folder = tmp_path / "out/tiny/runs"
    (folder / f"{one.id}.npz").write_bytes((folder / f"{other.id}.npz").read_bytes())
    assert main(["evaluate", str(folder / f"{one.id}.json")]) == 2
    assert f"the codes beside {one.id} are of another record" in capsys.readouterr().err


def test_tables_have_brought_codes_apart(score, configs, tmp_path):
    record = score(SIGNS, bits=(4, 12))
    tables = make_tables(Study.read(tmp_path / "out", "tiny"))
    assert set(tables) == {"table.md", "brought.csv"}
    assert tables["table.md"].count(f"[json](runs/{record.id}.json)") == 2
    assert "No published page has them." in tables["table.md"]
    lines = tables["brought.csv"].splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("name,ranked_by,bits,map,map_low,map_high,")
    assert lines[1].startswith(f"mine,Hamming distance,4,{record.lengths[0].map:.6f},{record.intervals[0][0]:.6f},")


@pytest.fixture
def own_run(configs, tmp_path):
    """A run of DPQ on all of the digits."""
    output = tmp_path / "out"
    assert main(["run", "tiny", "--method", "dpq", "--output", str(output)]) == 0
    (path,) = (output / "tiny/runs").glob("dpq-*.json")
    return path


def test_raw_codes_of_a_run_give_its_numbers_to_the_last_digit(own_run, tmp_path, capsys):
    output = own_run.parents[2]
    asked = ["score", "digits", "--codes", str(own_run.with_suffix(".npz")), "--experiment", "tiny"]
    assert main([*asked, "--name", "again", "--bits", "4,8", "--output", str(output)]) == 0
    (brought,) = (record for record in read_all(output, "tiny") if isinstance(record, Brought))
    wanted = [
        {key: value for key, value in length.table.items() if key != "reconstruction_mse"}
        for length in read_record(own_run).lengths
    ]
    assert [length.table for length in brought.lengths] == wanted
    assert brought.data == read_record(own_run).data
    capsys.readouterr()
    assert main(["table", "tiny", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert f"again, 8 bits, inner product with reconstructions: mAP {wanted[1]['map']:.4f}" in said
    text = (output / "tiny/table.md").read_text()
    assert text.index("DPQ") < text.index("## Brought")
    assert main(["table", "tiny", "--check", "--output", str(output)]) == 0
