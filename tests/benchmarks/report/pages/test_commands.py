"""The command of a row must lead, by way of the command line itself, to the identities of the row's records."""

import hashlib
import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.__main__ import make_parser
from benchmarks.commands.run import run
from benchmarks.records.store import read_record
from benchmarks.report.pages.commands import checkout_of, command_of
from benchmarks.report.study import Study
from benchmarks.running import call, plan
from benchmarks.running.plan import reported_lengths
from benchmarks.setting import building
from benchmarks.setting import experiment as config
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.experiment import load_experiment
from dpq import InputError
from dpq.learning.settings import as_recorded
from dpq.protocols import Split
from tests.benchmarks.shipped import RECORDS, RESULTS, changed, committed, identity_of, is_of_today, made_up, weights_of

EXPERIMENTS = sorted({path.parts[-3] for path in RECORDS})
TODAYS = [path for path in RECORDS if is_of_today(json.loads(path.read_text(encoding="utf-8")))]
PLAIN = "python -m benchmarks run cifar10-cpu --method dpq --seeds 0"


@pytest.fixture
def planned(planned_runs):
    """Identities that commands plan."""
    return lambda command, *records: set(planned_runs(command, *records))


@pytest.fixture
def planned_runs(monkeypatch):
    """Runs that commands plan, by identity; all of `run` but data and weights is real."""

    def identities(command, *records):
        record = records[0]
        fingerprints = {each["config"]["split_seed"]: each["data"]["fingerprint"] for each in records}
        if record["backbone"]["weights_sha256"] is None:
            monkeypatch.delenv("DPQ_WEIGHTS", raising=False)
        else:
            monkeypatch.setenv("DPQ_WEIGHTS", record["backbone"]["weights"])
        monkeypatch.setattr(building, "read_weights", lambda path: weights_of(record))
        monkeypatch.setattr(building, "check_backbone", lambda *_, **__: None)
        train = Split(torch.zeros(300, 3, 1, 1, dtype=torch.uint8), torch.eye(10).repeat(30, 1).bool())
        found = {}

        def load(experiment, *_):
            fingerprint = fingerprints.get(experiment.split_seed, record["data"]["fingerprint"])
            return SimpleNamespace(fingerprint=fingerprint, classes=range(10), train=train)

        monkeypatch.setattr(call, "load_data", load)
        monkeypatch.setattr(call, "print_plan", lambda runs, *_: found.update((run.identity, run) for run in runs))
        for line in command.splitlines():
            python, *words = shlex.split(line)
            assert (python, words[:2]) == ("python", ["-m", "benchmarks"])
            run(make_parser().parse_args([*words[2:], "--dry-run"]))
        return found

    return identities


def of_lengths(*lengths, source=None, **arguments):
    """Made-up records of one row, one for each set of code lengths."""
    records = [made_up("cifar10-cpu", bits=bits, **arguments) for bits in lengths]
    return [changed(r, "source", {"method": "dpq", "bits": source}) if source else r for r in records]


def written(folder, name, dim):
    """A file of word vectors, and what a record says of it."""
    np.savetxt(folder / name, np.random.default_rng(0).normal(size=(10, dim)))
    return {"source": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


@pytest.fixture
def word_vectors(monkeypatch, tmp_path):
    """Stand in for the file of word vectors of a record, which is not part of the project."""

    def stand_in(source):
        monkeypatch.chdir(tmp_path)
        (tmp_path / source["source"]).touch()
        taken = plan.read_ingredients

        def read_ingredients(experiment, dataset, read):
            if experiment.label_vectors == source["source"]:
                return building.Ingredients(dataset, read.weights, torch.zeros(10, 300), source)
            return taken(experiment, dataset, read)

        monkeypatch.setattr(plan, "read_ingredients", read_ingredients)

    return stand_in


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_command_of_a_committed_record_plans_it(path, planned, word_vectors):
    record = read_record(path).raw
    if record["config"]["label_vectors"]["source"] != "orthonormal":
        word_vectors(record["config"]["label_vectors"])
    assert identity_of(record) == record["id"]
    if is_of_today(record):
        assert record["id"] in planned(command_of([record]), record)
    else:
        with pytest.raises(InputError, match=r"was made before methods\..* had .*; use the code of its commit"):
            command_of([record])


@pytest.mark.parametrize("path", TODAYS, ids=lambda path: path.stem)
def test_the_arguments_that_a_record_keeps_are_those_that_are_recovered_without(path, planned_runs, word_vectors):
    record = read_record(path).raw
    if record["config"]["label_vectors"]["source"] != "orthonormal":
        word_vectors(record["config"]["label_vectors"])
    run = planned_runs(command_of([record]), record)[record["id"]]
    keeping = record | {"arguments": run.arguments}
    assert command_of([keeping]) == command_of([record])
    assert record["id"] in planned_runs(shlex.join(["python", "-m", "benchmarks", *run.arguments]), record)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_command_of_a_committed_row_plans_its_records_and_no_others(experiment, planned):
    rows = 0
    for section in Study.read(RESULTS, experiment).sections:
        records = {record.id: record.raw for record in section.records}
        for _, part in section.rows:
            rows += 1
            ids = {one for several in part["records"] for one in several.split()}
            if not all(is_of_today(records[one]) for one in ids):
                continue
            command = command_of([records[one] for one in sorted(ids)])
            lengths = {tuple(records[one]["config"]["bits"]) for one in ids}
            assert len(command.splitlines()) <= len(lengths)  # one for each that other seeds were trained for
            found = planned(command, *records.values())
            assert ids <= found
            if part["training"].iloc[0] != "truncated":
                assert ids == found
    assert rows >= 7


def test_a_plain_row_has_the_short_command():
    records = [committed(f"dpq-paper-seed{seed}-1d5b66853c") for seed in range(3)]
    assert command_of(records) == "python -m benchmarks run cifar10-cpu --method dpq --seeds 0,1,2"


def test_the_order_of_the_records_is_all_the_same():
    records = [read_record(path).raw for path in RECORDS if path.match("cifar10/runs/dqn-*")]
    assert len(records) == 16
    assert command_of(records) == command_of(records[::-1])


@pytest.mark.parametrize(
    ("path", "value", "option"),
    [
        ("backbone.name", "resnet18", "--backbone resnet18"),
        ("training.image_size", 64, "--image-size 64"),
        ("training.epochs", 3, "--epochs 3"),
        ("training.precision", "bf16", "--precision bf16"),
        ("training.evaluation_views", "mirror", "--views mirror"),
        ("limit", 500, "--limit 500"),
        ("validation", True, "--validation"),
        ("bits", [8, 16], "--bits 8,16"),
        ("split_seed", 4, "--split-seeds 4"),
    ],
)
def test_every_option(planned, path, value, option):
    record = changed(made_up("cifar10-cpu"), path, value)
    command = command_of([record])
    assert sorted(command.removeprefix(PLAIN).split()) == sorted(option.split())
    assert planned(command, record) == {record["id"]}


def test_several_options_at_once(planned):
    record = changed(changed(made_up("cifar10-cpu"), "training.epochs", 3), "limit", 500)
    assert command_of([record]) == f"{PLAIN} --epochs 3 --limit 500"
    assert planned(command_of([record]), record) == {record["id"]}


def test_word_vectors_are_named_by_their_file(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = changed(made_up("cifar10-cpu"), "label_vectors", written(tmp_path, "my words.txt", 300))
    assert command_of([record]) == f"{PLAIN} --label-vectors 'my words.txt'"
    assert planned(command_of([record]), record) == {record["id"]}


def test_no_weights(planned):
    backbone = {"weights": "none", "weights_sha256": None}
    scratch = changed(made_up("cifar10-cpu"), "backbone.weights", "none", backbone=backbone)
    assert command_of([scratch]) == f"{PLAIN} --weights none"
    assert planned(command_of([scratch]), scratch) == {scratch["id"]}
    digits = changed(made_up("digits"), "backbone.weights", "none", backbone=backbone)
    assert command_of([digits]) == "python -m benchmarks run digits --method dpq --seeds 0"
    assert planned(command_of([digits]), digits) == {digits["id"]}


@pytest.mark.parametrize("method", ["dpq", "dtq"])
def test_the_released_variant(planned, method):
    record = made_up("cifar10-cpu", method, variant="released")
    assert (
        command_of([record]) == f"python -m benchmarks run cifar10-cpu --method {method} --variant released --seeds 0"
    )
    assert record["id"] in planned(command_of([record]), record)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation(planned, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    record = made_up("cifar10-cpu", ablation=name, words="words.txt" if name == "words" else "")
    if name == "words":
        record = changed(record, "label_vectors", written(tmp_path, "words.txt", 300))
    option = " --label-vectors words.txt" if name == "words" else ""
    assert command_of([record]) == f"python -m benchmarks run cifar10-cpu --ablation {name} --seeds 0{option}"
    assert planned(command_of([record]), record) == {record["id"]}


def test_class_splits_and_missing_images(planned):
    records = [made_up("cifar10-unseen", split=split, seed=seed) for split in range(3) for seed in range(2)]
    assert command_of(records) == "python -m benchmarks run cifar10-unseen --method dpq --seeds 0,1"
    assert planned(command_of(records), records[0]) == {record["id"] for record in records}
    assert command_of(records[:4]).endswith("--seeds 0,1 --split-seeds 0,1")
    lacking = made_up("nuswide21")
    lacking["data"] |= {"missing": {"train": 3, "query": 0, "database": 40}}
    assert command_of([lacking]).endswith("nuswide21 --method dpq --seeds 0 --allow-missing 43")


def test_repetitions_that_are_no_product_take_several_commands(planned):
    records = [made_up("cifar10-unseen", split=split, seed=seed) for split, seed in ((0, 0), (0, 1), (1, 0), (2, 0))]
    start = "python -m benchmarks run cifar10-unseen --method dpq --seeds"
    assert command_of(records).splitlines() == [f"{start} 0,1 --split-seeds 0", f"{start} 0 --split-seeds 1,2"]
    assert planned(command_of(records), records[0]) == {record["id"] for record in records}


FOUR = [(8,), (16,), (24,), (8, 16, 24, 32)]


@pytest.mark.parametrize(
    ("method", "lengths", "source", "calls"),
    [
        ("dqn", FOUR, None, [""]),
        ("dqn", [(8, 16, 24, 32)], None, [""]),
        ("dqn", [(16,)], None, [" --bits 16"]),
        ("dqn", [(8,), (16,)], None, [" --bits 8", " --bits 16"]),
        ("dqn", [(8,), (8, 16)], None, [" --bits 8,16"]),
        ("dqn", [*FOUR, (32,)], None, ["", " --bits 32"]),
        ("dpq", [(8, 16, 24, 32)], None, [""]),
        ("dpq", [(16,)], None, [" --bits 16"]),
        ("dpq", [(16, 32), (32,)], None, [" --bits 16,32", " --bits 32"]),
        ("pq-dpq", FOUR, 32, [""]),
        ("pq-dpq", [(8,)], 32, [" --bits 8,32"]),
        ("pq-dpq", [(8,)], 8, [" --bits 8"]),
        ("pq-dpq", [(8,), (8, 16)], 16, [" --bits 8,16"]),
        ("rq-dpq", [(8, 16)], 16, [" --bits 8,16"]),
        ("label-code", [(8, 16, 24, 32)], 32, [""]),
    ],
)
def test_code_lengths_and_those_of_the_source(planned, method, lengths, source, calls):
    records = of_lengths(*lengths, source=source, method=method)
    start = f"python -m benchmarks run cifar10-cpu --method {method} --seeds 0"
    assert command_of(records).splitlines() == [start + call for call in calls]
    assert {record["id"] for record in records} <= planned(command_of(records), records[0])


def test_a_seed_that_has_fewer_lengths_gets_a_command_of_its_own(planned):
    records = [*of_lengths(*FOUR, method="dqn"), *of_lengths((8,), method="dqn", seed=1)]
    start = "python -m benchmarks run cifar10-cpu --method dqn --seeds"
    assert command_of(records).splitlines() == [f"{start} 0", f"{start} 1 --bits 8"]
    assert planned(command_of(records), records[0]) == {record["id"] for record in records}


def test_a_length_is_not_made_by_the_call_of_another_source(planned):
    records = [*of_lengths(*FOUR, source=32, method="pq-dpq"), *of_lengths((8,), source=8, method="pq-dpq")]
    start = "python -m benchmarks run cifar10-cpu --method pq-dpq --seeds 0"
    assert command_of(records).splitlines() == [start, f"{start} --bits 8"]
    assert {record["id"] for record in records} <= planned(command_of(records), records[0])


def test_a_limit_in_the_shipped_file_is_none_of_a_call(planned, tmp_path, monkeypatch):
    text = (config.CONFIGS / "cifar10-cpu.toml").read_text(encoding="utf-8")
    (tmp_path / "cifar10-cpu.toml").write_text("limit = 500\nvalidation = true\n" + text, encoding="utf-8")
    whole = made_up("cifar10-cpu")
    limited = changed(whole, "limit", 500)
    monkeypatch.setattr(config, "CONFIGS", tmp_path)
    assert command_of([whole]) == PLAIN
    assert command_of([limited]) == f"{PLAIN} --limit 500"
    assert planned(PLAIN, whole) == {whole["id"]}


SETTABLE = {"backbone.name", "backbone.weights", "training.image_size", "training.epochs", "training.precision"} | {
    "training.evaluation_views", "label_vectors", "limit", "validation", "bits", "split_seed",
}  # fmt: skip


def paths(table, prefix=""):
    for key, value in table.items():
        whole = isinstance(value, dict) and key != "label_vectors"
        yield from paths(value, f"{prefix}{key}.") if whole else [prefix + key]


@pytest.mark.parametrize("path", sorted(set(paths(made_up("cifar10-cpu")["config"])) - SETTABLE))
def test_what_no_option_sets_is_refused_by_its_path(path):
    record = changed(made_up("cifar10-cpu"), path, "another")
    with pytest.raises(
        InputError, match=rf"{record['id']} has {path} = 'another', today's cifar10-cpu .*; use the cod"
    ):
        command_of([record])


def test_fields_that_only_one_of_both_has_are_refused():
    lacking = made_up("cifar10-cpu")
    del lacking["config"]["training"]["warmup"]
    with pytest.raises(InputError, match=r"has training\.warmup = '\(nothing\)', today's cifar10-cpu 0\.1"):
        command_of([lacking])
    with pytest.raises(InputError, match=r"has training\.decay = 1, today's cifar10-cpu '\(nothing\)'"):
        command_of([changed(made_up("cifar10-cpu"), "training.decay", 1)])
    unlimited = made_up("cifar10-cpu")
    del unlimited["config"]["limit"]
    with pytest.raises(InputError, match=r"has limit = '\(nothing\)', today's cifar10-cpu None"):
        command_of([unlimited])


def test_the_settings_of_other_methods_are_no_matter():
    record = made_up("cifar10-cpu", "dqn")
    assert set(record["config"]["methods"]) == {"dqn"}
    command_of([record])
    with pytest.raises(InputError, match=r"has methods\.dpq\.tau = 2\.0"):
        command_of([changed(made_up("cifar10-cpu", "pq-dpq"), "methods.dpq.tau", 2.0)])


def test_ablations_on_top_of_what_options_cannot_set_are_refused():
    record = made_up("cifar10-cpu", ablation="frozen")
    with pytest.raises(InputError, match=r"has label_vectors = 'w\.txt'"):
        command_of([changed(record, "label_vectors", {"source": "w.txt", "sha256": "d" * 64})])
    with pytest.raises(InputError, match=r"has methods\.dpq\.gamma = 50\.0, today's cifar10-cpu 100\.0"):
        command_of([changed(made_up("cifar10-cpu", ablation="gamma-large"), "methods.dpq.gamma", 50.0)])
    with pytest.raises(InputError, match="unknown ablation 'no-labels'"):
        command_of([record | {"ablation": "no-labels"}])


def test_an_experiment_that_is_not_shipped_is_refused():
    with pytest.raises(InputError, match="unknown experiment 'flowers'"):
        command_of([made_up("cifar10-cpu") | {"experiment": "flowers"}])


@pytest.mark.parametrize(
    "other",
    [
        made_up("cifar10-cpu", "dqn"),
        made_up("cifar10-cpu", variant="released"),
        made_up("cifar10-cpu", ablation="frozen"),
        made_up("cifar10"),
        changed(made_up("cifar10-cpu"), "training.epochs", 3),
    ],
)
def test_records_of_several_rows_are_refused(other):
    with pytest.raises(InputError, match="2 records of 2 rows have no command in common; give those of one row"):
        command_of([made_up("cifar10-cpu"), other])


def test_records_that_keep_their_arguments_need_no_shipped_setting():
    arguments = ["run", "cifar10", "--method", "dpq", "--seeds", "S", "--split-seeds", "0", "--bits", "8", "--x", "y"]
    records = [
        made_up("cifar10-cpu", seed=seed) | {"arguments": [str(seed) if a == "S" else a for a in arguments]}
        for seed in (1, 0)
    ]
    changed_since = [changed(record, "methods.dpq.gamma", 7.0) for record in records]
    assert command_of(changed_since) == "python -m benchmarks run cifar10 --method dpq --seeds 0,1 --x y"
    with pytest.raises(InputError, match="2 records of 2 rows"):
        command_of([records[0], records[1] | {"arguments": [*arguments[:-1], "z"]}])
    for broken in ([], ["run"], ["table", "digits", "--seeds", "0"]):
        with pytest.raises(InputError, match="no usable arguments"):
            command_of([records[0] | {"arguments": broken}])


def test_no_records_are_refused():
    with pytest.raises(InputError, match="0 records of 0 rows"):
        command_of([])


@pytest.mark.parametrize(
    ("commits", "lines"),
    [
        (["a" * 40, "a" * 40], [f"git checkout {'a' * 40}"]),
        (["b" * 40, "a" * 40], [f"git checkout {'a' * 40}", f"git checkout {'b' * 40}"]),
        (["a" * 40 + "-dirty"], [f"git checkout {'a' * 40}  # and changes that are in no commit"]),
        (["v1.0"], ["git checkout v1.0"]),
        (["unknown"], ["# made outside a checkout: the commit is unknown"]),
    ],
)
def test_checkouts(commits, lines):
    assert checkout_of([{"environment": {"commit": one}} for one in commits]).splitlines() == lines


def test_made_up_records_are_what_the_command_line_plans(planned):
    record = made_up("cifar10-cpu")
    assert record["config"]["training"] == as_recorded(load_experiment("cifar10-cpu").training)
    assert planned(PLAIN, record) == {record["id"]}
    assert reported_lengths("dqn", (8, 16)) == [(8,), (8, 16)]
