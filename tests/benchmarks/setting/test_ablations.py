"""Ablations from the command line: one field changed, under an identity of their own."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.records.store import read_record
from benchmarks.setting.ablations import ABLATIONS, WORDS
from benchmarks.setting.experiment import known_experiments, load_experiment, with_settings
from benchmarks.setting.overrides import ablated, choose_ablations
from dpq import InputError
from dpq.method.dpq import DPQMethod


def flat(table, prefix=""):
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif is_dataclass(value):  # settings of a method
            yield from flat(asdict(value), f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("experiment", known_experiments())
def test_every_ablation_changes_its_field_and_no_other(experiment, name):
    own = with_settings(load_experiment(experiment))
    before, after = dict(flat(asdict(own))), dict(flat(asdict(ablated(own, name, "words.txt"))))
    assert {key for key in before if before[key] != after[key]} == {ABLATIONS[name].path}
    assert type(after[ABLATIONS[name].path]) is type(before[ABLATIONS[name].path])


def test_what_the_setting_has_anyway_is_no_ablation(caplog):
    own = load_experiment("digits")
    changed = replace(own, methods={"dpq": replace(own.settings_of("dpq"), gamma=100.0)})
    with pytest.raises(InputError, match=r"sets methods\.dpq\.gamma to 100\.0, which digits has anyway; leave it"):
        choose_ablations(["gamma-large"], changed)
    with caplog.at_level("INFO"):
        assert set(choose_ablations(["all"], changed)) == set(ABLATIONS) - {WORDS, "gamma-large"}
    assert "gamma-large is left out: " in caplog.text
    assert "words is left out: the ablation words needs word vectors; give --label-vectors FILE" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ablation", "no-gamma"], "unknown ablation 'no-gamma'; choose from no-margin, no-classification, words, "),
        (["--ablation", "all", "no-margin"], "unknown ablation 'all'; choose from"),
        (["--ablation", "frozen", "--method", "dqn"], "ablations are of dpq alone; leave out --method dqn"),
        (["--ablation", "frozen", "--method", "dpq", "rq-dpq"], "leave out --method rq-dpq"),
        (["--ablation", "frozen", "--variant", "released"], "leave out --variant released"),
        (["--ablation", "words"], "ablation words needs word vectors; give --label-vectors FILE"),
        (["--ablation", "words", "--label-vectors", "nowhere.txt"], "cannot read label vectors from nowhere.txt"),
        (["--ablation", "frozen", "--label-vectors", "w.txt"], "--label-vectors w.txt is for the ablation words here"),
        (["--ablation", "two-step", "--epochs", "1"], "feature_epochs = 0.5 of 1 epochs leaves none"),
    ],
)
def test_refusals(configs, tmp_path, capsys, arguments, words):
    output = tmp_path / "results"
    assert main(["run", "tiny", "--limit", "100", "--output", str(output), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert not list(output.rglob("*.json"))


def by_ablation(paths):
    return {record.ablation: record.raw for record in map(read_record, paths)}


def test_an_ablated_record_names_its_ablation_and_the_run_it_is_one_of(run_tiny, tmp_path):
    run_tiny()
    records = by_ablation(run_tiny("--ablation", "no-margin", "frozen"))
    base = records.pop(None)
    assert "ablation_of" not in base
    assert set(records) == {"no-margin", "frozen"}
    assert base["config"]["methods"]["dpq"]["margin"] == 1.0
    assert records["no-margin"]["config"]["methods"]["dpq"] == base["config"]["methods"]["dpq"] | {"margin": 0.0}
    assert records["frozen"]["config"]["methods"]["dpq"] == base["config"]["methods"]["dpq"] | {"train_backbone": False}
    assert "margin" not in records["no-margin"]["training_log"][0]
    for name, record in records.items():
        assert record["ablation_of"] == base["id"]
        assert record["id"].startswith(f"dpq-paper-{name}-seed0-")
        assert record["float_map"] != base["float_map"]
    checkpoints = {path.stem for path in (tmp_path / "results/tiny/checkpoints").iterdir()}
    assert len(checkpoints) == 3
    assert {path.name for path in (tmp_path / "results/tiny/embeddings").iterdir()} == {base["id"]}


def test_a_finished_ablation_is_not_repeated_and_a_forced_one_leaves_dpq_alone(run_tiny, monkeypatch, caplog):
    run_tiny()
    base, ablation = sorted(run_tiny("--ablation", "frozen"), key=lambda path: "frozen" in path.stem)
    before, value = base.read_bytes(), read_record(ablation).raw["float_map"]
    with caplog.at_level("INFO"):
        run_tiny("--ablation", "frozen", "--force")
    assert "stay as they are" not in caplog.text  # controls quantize DPQ's embedding, not this one
    assert base.read_bytes() == before
    assert read_record(ablation).raw["float_map"] == value
    monkeypatch.setattr(DPQMethod, "fit", None)
    run_tiny("--ablation", "frozen")
    run_tiny()


def test_word_vectors_are_for_words_alone(run_tiny, tmp_path):
    vectors = tmp_path / "vectors.txt"
    np.savetxt(vectors, np.random.default_rng(0).standard_normal((10, 16)))
    run_tiny()
    records = by_ablation(run_tiny("--ablation", "words", "no-soft", "--label-vectors", str(vectors)))
    assert records["words"]["config"]["label_vectors"]["source"] == "vectors.txt"
    for name in (None, "no-soft"):
        assert records[name]["config"]["label_vectors"] == {"source": "orthonormal"}
    assert {records[name]["ablation_of"] for name in ("words", "no-soft")} == {records[None]["id"]}
    assert records["words"]["config"]["methods"] == records[None]["config"]["methods"]


def test_the_plan_of_all_names_every_ablation_and_no_control(configs, tmp_path, capsys):
    arguments = ["run", "tiny", "--limit", "100", "--ablation", "all", "--dry-run", "--seeds", "0,1"]
    assert main([*arguments, "--output", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr().out
    planned = [line.split()[1] for line in printed.splitlines() if line.startswith("train ")]
    assert [name.rpartition("-")[0] for name in planned] == [
        f"dpq-paper-{name}-seed{seed}" for name in ABLATIONS if name != WORDS for seed in (0, 1)
    ]
    assert "22 trainings on cpu" in printed


def test_tables_of_a_run_hold_its_ablations_and_are_checked_with_them(run_tiny, tmp_path):
    run_tiny()
    run_tiny("--ablation", "frozen")
    output = str(tmp_path / "results")
    assert main(["table", "tiny", "--output", output]) == 0
    assert main(["figures", "tiny", "--output", output]) == 0
    assert main(["table", "tiny", "--check", "--output", output]) == 0
    folder = tmp_path / "results/tiny"
    assert "frozen backbone" in (folder / "table.md").read_text()
    (ablation,) = (folder / "runs").glob("*frozen*.json")
    ablation.unlink()
    assert main(["table", "tiny", "--check", "--output", output]) == 2
    assert main(["table", "tiny", "--output", output]) == 0
    assert not (folder / "ablations.csv").exists()
    assert main(["table", "tiny", "--check", "--output", output]) == 0
    (folder / "ablations.csv").write_text("of records that are gone")
    assert main(["table", "tiny", "--check", "--output", output]) == 2
