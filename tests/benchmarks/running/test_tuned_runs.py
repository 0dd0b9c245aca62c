"""Runs at the winners of studies, from the command line to their records and pages."""

import argparse
import pickle
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.records.record import BUDGETS, TERMS
from benchmarks.records.store import read_record
from benchmarks.report.pages.commands import command_of
from benchmarks.report.study import Study
from benchmarks.running.parallel import _Data
from benchmarks.running.plan import plan
from benchmarks.setting.building import read_ingredients
from benchmarks.setting.experiment import load_experiment, with_settings
from dpq.protocols import load_protocol
from tests.benchmarks.conftest import TINY

TUNED = """
[tuned.dpq]
study = "dpq-2"
label_vectors = "{words}"
[tuned.dpq.training]
learning_rate = 2e-3
epochs = 3
[tuned.dpq.method]
margin = 8.0
[tuned.pq]
study = "pq"
method.score = "inner"
"""


@pytest.fixture
def run(configs, tmp_path):
    """Run `tiny`, whose DPQ and PQ are tuned; returns the records of the folder by method, those of one reading."""
    words = tmp_path / "words.txt"
    np.savetxt(words, np.random.default_rng(0).normal(size=(10, 16)))
    (configs / "tiny.toml").write_text(TINY + TUNED.format(words=words))

    def go(*arguments, reading=BUDGETS):
        assert main(["run", "tiny", "--limit", "100", "--output", str(tmp_path / "results"), *arguments]) == 0
        records = map(read_record, sorted((tmp_path / "results/tiny/runs").glob("*.json")))
        return {record.method: record for record in records if record.reading == reading}

    return go


METHODS = ["--method", "dpq", "rq-dpq", "pq", "dqn"]


def test_a_tuned_run_keeps_what_it_used_and_what_it_was_tuned_from(run, tmp_path, capsys):
    plain = run("--method", "dpq", "rq-dpq", reading=TERMS)
    made = run("--tuned", *METHODS)
    assert set(made) == {"dpq", "rq-dpq", "pq"}  # DQN has no study
    config, shared = made["dpq"].config, plain["dpq"].config
    assert (config.training.learning_rate, config.training.epochs, shared.training.epochs) == (2e-3, 3, 2)
    assert config.methods["dpq"] == shared.methods["dpq"] | {"margin": 8.0}
    assert (config.label_vectors.source, shared.label_vectors.source) == ("words.txt", "orthonormal")
    kept = {key: plain["dpq"].raw["config"][key] for key in ("training", "label_vectors", "methods")}
    assert made["dpq"].raw["tuned"] == {"study": "dpq-2", "shared": kept}
    assert made["dpq"].shared == shared
    assert len(made["dpq"].training_log) == 3
    assert (made["pq"].config.training, made["pq"].score) == (shared.training, "inner")

    # The control quantizes what DPQ's one training gave.
    assert made["rq-dpq"].raw["tuned"]["study"] == "dpq-2"
    assert made["rq-dpq"].float_map == made["dpq"].float_map != plain["dpq"].float_map
    assert len(list((tmp_path / "results/tiny/checkpoints").glob("dpq-*"))) == 2  # one at equal terms

    study = Study.read(tmp_path / "results", "tiny")
    assert [(section.reading, section.title) for section in study.sections] == [
        (reading, "digits-limit100: 2 epochs, 32 pixels, centre views at evaluation") for reading in (BUDGETS, TERMS)
    ]
    capsys.readouterr()
    assert main(["table", "tiny", "--output", str(study.output)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("equal budgets:\n| mAP") < printed.index("equal terms:\n| mAP")

    before = sorted((tmp_path / "results/tiny/runs").glob("*.json"))
    command = command_of([made["rq-dpq"].raw])
    assert command == "python -m benchmarks run tiny --method rq-dpq --tuned --seeds 0 --limit 100"
    assert main([*command.split()[3:], "--output", str(study.output)]) == 0
    assert main([*made["dpq"].raw["arguments"], "--output", str(study.output)]) == 0
    assert sorted((tmp_path / "results/tiny/runs").glob("*.json")) == before


def test_the_command_line_wins_and_is_another_setting(run, capsys):
    said = []
    for epochs in ((), ("--epochs", "1")):
        for shard in ("1/2", "2/2"):
            run("--tuned", "--method", "dpq", "pq", "--dry-run", "--shard", shard, *epochs)
            said.append({line.split()[1] for line in capsys.readouterr().out.splitlines() if line[:6] == "train "})
    first, second, *others = said
    assert first.isdisjoint(second)
    assert len(first | second) == 3  # DPQ once, PQ for each length
    assert all(len(one) == len(other) for one, other in zip((first, second), others, strict=True))
    assert (first | second).isdisjoint(set.union(*others))


def test_another_process_reads_the_label_vectors_that_a_study_chose(run, tmp_path):
    experiment = with_settings(replace(load_experiment("tiny"), limit=100))
    ingredients = read_ingredients(experiment, load_protocol("digits", None))
    arguments = {"methods": ["dpq", "pq"], "seeds": [0], "variant": "paper", "output": tmp_path, "tuned": True}
    runs = plan(experiment, ingredients, **arguments)
    sent = pickle.loads(pickle.dumps([one.with_ingredients(None) for one in runs]))
    assert set(sent) == set(runs)
    data = _Data(argparse.Namespace(data_root=None, allow_missing=0, strip_prefix=None, workers=None))
    for one in sent:
        read = one.with_ingredients(data.of(one.experiment))
        assert read.config["label_vectors"]["source"] == ("words.txt" if one.method == "dpq" else "orthonormal")


def test_label_vectors_that_a_study_chose_must_be_there(run, tmp_path, capsys):
    (tmp_path / "words.txt").unlink()
    assert main(["run", "tiny", "--tuned", "--method", "dpq", "--output", str(tmp_path / "results")]) == 2
    assert "words.txt: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
