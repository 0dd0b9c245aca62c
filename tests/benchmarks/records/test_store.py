import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.records.raw import RawResult
from benchmarks.records.record import Record, digest
from benchmarks.records.store import as_record, read_record, read_records, write_record
from benchmarks.running.evaluation import evaluate_lengths
from dpq import InputError
from dpq.files.schema import read_table
from dpq.ranking.evaluate import evaluate_embeddings
from tests.benchmarks.conftest import make_record
from tests.benchmarks.shipped import committed, identity_of, sealed

ROOT = Path(__file__).parents[3]


def put(folder, record):
    path = folder / f"{record['id']}.json"
    write_record(path, record)
    return path


def test_a_record_comes_back_as_it_was(tmp_path):
    record = sealed(make_record())
    path = put(tmp_path, record)
    assert read_record(path) == as_record(record)
    assert read_record(path).raw == record


def test_numbers_that_are_not_finite_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path / "r.json", make_record(float_map=float("nan")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"schema_version": 99})])
def test_what_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError):
        read_record(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["id"], "../../escape", "id must be a name of letters"),
        (["experiment"], "a/b", "experiment must be a name"),
        (["method"], "svm", "method must be one of 'pq', "),
        (["variant"], ["paper"], "variant must be 'paper' or 'released'; got "),
        (["seed"], True, "seed must be a whole number"),
        (["seed"], 10**40, "seed must be at most 9007199254740992"),
        (["float_map"], 1.5, "float_map must be at most 1; got 1.5"),
        (["float_map"], "0.5", "float_map must be a number; got '0.5'"),
        (["embedding_mean_squared_norm"], 10**400, "embedding_mean_squared_norm must be a finite number"),
        (["classification_accuracy"], [], "classification_accuracy must be a number"),
        (["data"], None, "data must be a table; got None"),
        (["data", "database"], 0, "data.database must be at least 1; got 0"),
        (["data", "missing"], {"train": -1}, "data.missing.train must be at least 0; got -1"),
        (["data", "missing"], {"a\nb": -1}, "data.missing.a b must be at least 0; got -1"),
        (["lengths"], [], "lengths must have at least 1 item, not 0"),
        (["lengths", 1, "map"], -0.5, r"lengths\[1\].map must be at least 0; got -0.5"),
        (["lengths", 1, "map_bounds"], [0.7, 0.5], r"lengths\[1\].map_bounds must be the worst before the best"),
        (["lengths", 0, "map_bounds"], [0.5], r"lengths\[0\].map_bounds\[1\] is missing"),
        (["lengths", 0, "precision_at"], {"10": 0.5}, r"lengths\[0\].precision_at.1 is missing"),
        (["lengths", 0, "pr"], [[0.9, 0.5], [0.1, 0.5]], r"lengths\[0\].pr must be of ascending recall"),
        (["lengths", 0, "distinct_codes"], 54001, r"lengths\[0\].distinct_codes must be no more than database images"),
        (["lengths", 0, "bits"], 32, r"config.bits must be those of lengths, \[32, 16\], ascending"),
        (["lengths", 0, "bits"], 9, r"config.bits must be those of lengths, \[9, 16\]"),
        (["config", "codebook_size"], 100, "config.codebook_size must be 2, 4"),
        (["config", "codebook_size"], 64, r"lengths\[0\].bits must be a multiple of 6 .* got 8"),
        (["config", "methods"], {}, "config.methods.dpq is missing"),
        (
            ["config", "training", "evaluation_views"],
            "all",
            "config.training.evaluation_views must be 'centre', 'mirror' or 'ten-crop'",
        ),
        (["training_log"], [{"margin": {}}], r"training_log\[0\].margin must be a number; got {}"),
        (["seconds", "train"], -1, "seconds.train must be at least 0; got -1"),
        (["environment", "threads"], "two", "environment.threads must be a whole number"),
        (["ablation"], "frozen", "ablation_of must be beside ablation"),
    ],
)
def test_a_record_that_no_table_can_be_made_of_names_the_place(tmp_path, path, value, words):
    record = make_record()
    *inner, key = path
    place = record
    for step in inner:
        place = place[step]
    place[key] = value
    (tmp_path / "r.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"r\.json is no usable record: {words}"):
        read_record(tmp_path / "r.json")


@pytest.mark.parametrize("key", sorted(make_record()))
def test_no_part_of_a_record_may_be_missing(tmp_path, key):
    record = make_record()
    del record[key]
    (tmp_path / "r.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"{key} is missing" if key != "schema_version" else "no result record"):
        read_record(tmp_path / "r.json")


def test_embeddings_of_another_method_need_their_source(tmp_path):
    record = make_record("rq-dpq")
    del record["config"]["source"]
    (tmp_path / "r.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"config\.source is missing, and rq-dpq quantizes embeddings of dpq"):
        read_record(tmp_path / "r.json")


def test_what_a_later_version_adds_is_let_pass(tmp_path):
    record = sealed(make_record(novelty={"of": ["any", "kind"]}))
    assert read_record(put(tmp_path, record)).raw == record


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/runs/*.json")), ids=lambda path: path.stem)
def test_every_committed_record_is_read(path):
    assert read_record(path).id == path.stem


def test_digests_ignore_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_what_could_not_be_read_is_never_written(tmp_path):
    with pytest.raises(ValueError, match=r"float_map must be at most 1; got 1\.5"):
        write_record(tmp_path / "r.json", make_record(float_map=1.5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/runs/*-seed0-*.json")), ids=lambda path: path.stem)
def test_a_length_is_written_as_committed_records_have_it(path):
    """Of the same numbers, to the last digit and in the same order."""
    record = read_record(path)
    assert [json.dumps(length.table) for length in record.lengths] == list(map(json.dumps, record.raw["lengths"]))


def test_a_record_that_was_not_read_has_no_table():
    record = read_table(Record, make_record(), extra="ignore")
    with pytest.raises(AttributeError, match="was not read from a file"):
        _ = record.raw


@st.composite
def raw_results(draw):
    """What a run of three code lengths may leave; one-dimensional codebooks of few values tie nearly everything."""
    sizes = draw(st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(1, 3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    queries, images, classes = sizes
    database_labels = np.eye(classes, dtype=bool)[random.integers(0, classes, images)]
    codebooks = random.integers(0, 2, (3, 4, 1)).astype(np.float32)
    codes = random.integers(0, 4, (images, 3)).astype(np.uint8)
    if draw(st.booleans()):  # a perfect result
        codebooks = np.ones((3, 1, 1), np.float32) * np.arange(4, dtype=np.float32)[:, None]
        codes = np.where(database_labels[:, :1], 3 - codes % 2, codes % 2).astype(np.uint8)
    query_labels = np.eye(classes, dtype=bool)[random.integers(0, classes, queries) * draw(st.integers(0, 1))]
    return RawResult(codes, codebooks, np.ones((queries, 1), np.float32), query_labels, database_labels)


@given(raw_results(), st.none() | st.integers(1, 70), st.sampled_from(["inner", "l2"]))
def test_a_record_of_any_result_is_written_and_read(tmp_path_factory, raw, cut, score):
    lengths, _ = evaluate_lengths(raw, {2: 1.0, 4: 0.5, 6: 0.0}, cut, score, "float32", further_cuts=(3, 50))
    measured = [length.table for length in lengths]
    embeddings = torch.from_numpy(raw.codebooks.sum(0)[raw.codes[:, 0]])
    exact = evaluate_embeddings(
        *map(torch.from_numpy, (raw.queries, raw.query_labels)), embeddings, torch.from_numpy(raw.database_labels), cut
    )
    record = make_record(bits=(2, 4, 6), maps=(0, 0, 0), lengths=measured, float_map=exact, cut=cut)
    record["config"] |= {"codebook_size": 4}
    record["data"] |= {"database": len(raw.codes)}
    path = put(tmp_path_factory.mktemp("written"), sealed(record))
    assert [length.table for length in read_record(path).lengths] == measured
    for length in lengths:
        assert length.map_bounds[0] <= length.map <= length.map_bounds[1]


def leaves(table, path=()):
    for key, value in table.items() if isinstance(table, dict) else enumerate(table):
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def another(value):
    """A value of the same type, if there is one."""
    match value:
        case bool():
            return not value
        case int():
            return value + 8
        case float():
            return value + 0.001
        case str():
            return "released" if value == "paper" else f"{value[:-1]}{'0' if value[-1:] != '0' else '1'}"
    return 1000


DECISIVE = ("id", "experiment", "protocol", "method", "variant", "seed", "ablation", "score", "config")
PARTS = {"data": ["name", "fingerprint"], "backbone": ["name", "weights", "weights_sha256", "image_size"]}


def no_soft():
    """A committed record as that of an ablation of the run that it is of."""
    plain = copy.deepcopy(committed("dpq-paper-seed0"))
    plain["config"]["methods"]["dpq"]["soft_terms"] = False
    return sealed(plain | {"ablation": "no-soft", "ablation_of": plain["id"]})


@pytest.mark.parametrize("kind", ["dpq-paper-seed0", "pq-dpq-paper-seed1", "no-soft", "released"])
def test_a_record_that_was_changed_in_one_field_of_its_identity_is_refused(tmp_path, kind):
    if kind == "no-soft":
        record = no_soft()
    else:
        released = kind == "released"
        record = committed("dpq-paper-seed0" if released else kind)
        record = sealed(record | {"variant": "released"}) if released else record
    path = put(tmp_path, record)
    read_record(path)
    decisive = {key: record[key] for key in DECISIVE if key in record}
    decisive |= {table: {key: record[table][key] for key in keys} for table, keys in PARTS.items()}
    for (*inner, last), value in leaves(decisive):
        changed = copy.deepcopy(record)
        place = changed
        for step in inner:
            place = place[step]
        place[last] = another(value)
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError) as refused:
            read_record(path)
        assert str(path) in str(refused.value), (inner, last)
        assert "\n" not in str(refused.value)


def test_an_ablation_is_one_of_a_run_of_its_own_seed(tmp_path):
    record = no_soft()
    path = put(tmp_path, record)
    path.write_text(json.dumps(record | {"ablation_of": record["ablation_of"].replace("seed0", "seed1")}))
    with pytest.raises(InputError, match="ablation_of must be a run of dpq-paper-seed0"):
        read_record(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("map", 0.9), ("map_at_r", 0.51), ("map_ties_index", 0.2), ("map_total", 0.495), ("map_capped", 0.6), ("r", 100)],
)
def test_metrics_that_contradict_each_other_are_for_evaluate_alone(tmp_path, name, value):
    record = sealed(make_record())
    path = put(tmp_path, record)
    record["lengths"][0][name] = value
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"{path.name} is no usable record: lengths\[0\]\."):
        read_record(path)
    assert read_record(path, renewing=True).raw == record


def test_a_copy_of_a_record_and_a_record_of_another_experiment_are_refused(tmp_path):
    runs = tmp_path / "cifar10/runs"
    path = put(runs, sealed(make_record()))
    assert len(read_records(tmp_path, "cifar10")) == 1
    copied = path.with_stem(f"{path.stem} (copy)")
    copied.write_text(path.read_text())
    with pytest.raises(InputError, match=r"\(copy\)\.json holds the record of .*remove the copy"):
        read_records(tmp_path, "cifar10")
    copied.unlink()
    record = make_record(experiment="cifar10-paper")
    record["config"]["name"] = "cifar10-paper"
    put(runs, sealed(record))
    with pytest.raises(InputError, match=r"\.json is of the experiment cifar10-paper; move it"):
        read_records(tmp_path, "cifar10")


def test_a_record_is_written_under_its_own_identity_alone(tmp_path):
    with pytest.raises(ValueError, match="id must be dpq-paper-seed0-"):
        write_record(tmp_path / "r.json", make_record())


def test_a_tuned_record_says_what_it_was_tuned_from(tmp_path):
    plain = committed("dpq-paper-seed0-")
    shared = {key: plain["config"][key] for key in ("training", "label_vectors", "methods")}
    record = copy.deepcopy(plain) | {"tuned": {"study": "dpq", "shared": copy.deepcopy(shared)}}
    record["config"]["training"]["learning_rate"] = 0.5
    path = tmp_path / f"{identity_of(record)}.json"
    read = write_record(path, record | {"id": path.stem})
    assert path.stem.startswith("dpq-paper-tuned-seed0-")
    assert read_record(path) == read
    assert (read.config.training.learning_rate, read.shared.training.learning_rate) == (
        0.5,
        plain["config"]["training"]["learning_rate"],
    )
    assert read.repeats != as_record(plain).repeats
    for place, value, words in (
        ("study", "../dpq", "tuned.study must be a name"),
        ("shared", {}, "tuned.shared.training is missing"),
        ("study", "other", "id must be dpq-paper-tuned-seed0-"),
    ):
        path.write_text(json.dumps(record | {"id": path.stem, "tuned": record["tuned"] | {place: value}}))
        with pytest.raises(InputError, match=words):
            read_record(path)
    record["tuned"]["shared"]["training"]["image_size"] = 7
    with pytest.raises(ValueError, match=r"tuned\.shared\.training\.image_size must be .*; got 7"):
        write_record(path, record | {"id": identity_of(record)})
    with pytest.raises(ValueError, match="ablation must be absent beside tuned"):
        as_record(record | {"ablation": "no-margin", "ablation_of": "x"})
