"""The command, on the tiny experiment."""

import json
from dataclasses import replace

import pytest
import torch

import benchmarks.tuning.call
from benchmarks.__main__ import main
from benchmarks.running import loading
from benchmarks.tuning.study import read_study, study_path
from dpq import InputError
from dpq.errors import Diverged
from dpq.protocols.base import Split

NO_RESULTS = ("created", "seconds", "environment")


@pytest.fixture
def tune(configs, tmp_path):
    """Call `tune tiny` and return its study; arguments are appended."""

    def call(method, *arguments, output="results", status=0):
        few = ["--limit", "100", "--bits", "4,8", "--output", str(tmp_path / output)]
        assert main(["tune", "tiny", "--method", method, *few, *arguments]) == status
        path = study_path(tmp_path / output, "tiny", method)
        return read_study(path) if path.exists() else None

    return call


def results(study):
    return [{key: value for key, value in vars(t).items() if key not in NO_RESULTS} for t in study.trials]


def test_the_same_study_gives_the_same_trials_twice_and_goes_on_where_it_ended(tune, tmp_path):
    whole = tune("dpq", "--trials", "3")
    assert [trial.number for trial in whole.trials] == [1, 2, 3]
    assert len({str(trial.settings) for trial in whole.trials}) == 3
    tune("dpq", "--trials", "1", output="again")
    assert results(tune("dpq", "--trials", "3", output="again")) == results(whole)
    folder = tmp_path / "results/studies/tiny"
    assert sorted(path.name for path in folder.iterdir()) == [".locks", ".trials", "dpq.json"]
    assert list((folder / ".trials").iterdir()) == []


@pytest.mark.parametrize("last", [1, 3, 4])
def test_interrupted_equals_uninterrupted_and_nothing_is_done_twice(tune, monkeypatch, last):
    from dpq.learning.training import Trainer

    whole, count = tune("dqn", "--trials", "2", output="whole"), 0
    step = Trainer.step

    def interrupted(self, *arguments):
        nonlocal count
        count += 1
        if count > last:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", interrupted)
    tune("dqn", "--trials", "2", status=130)
    monkeypatch.setattr(Trainer, "step", lambda self, *arguments: step(self, *arguments))
    assert results(tune("dqn", "--trials", "2")) == results(whole)
    monkeypatch.setattr(Trainer, "step", None)
    assert results(tune("dqn", "--trials", "2")) == results(whole)


def test_the_first_trial_is_what_run_gives_on_the_validation_part(tune, tmp_path):
    (trial,) = tune("dqn", "--trials", "1").trials
    few = ["--limit", "100", "--bits", "4,8", "--seeds", "100", "--validation", "--output", str(tmp_path / "run")]
    assert main(["run", "tiny", "--method", "dqn", *few]) == 0
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "run/tiny/runs").glob("*.json"))]
    own = {record["lengths"][-1]["bits"]: record["lengths"][-1]["map"] for record in records}  # not the cut code's
    assert trial.map == {"4": own[4], "8": own[8]}
    assert trial.value == pytest.approx((own[4] + own[8]) / 2)


class Poison:
    """Images that nobody may read."""

    def __init__(self, count):
        self.shape, self.dtype = torch.Size((count, 3, 8, 8)), torch.uint8

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        raise AssertionError("a query or database image was read")

    take = __getitem__


def test_no_query_and_no_database_image_reaches_the_objective(tune, monkeypatch):
    honest, load = tune("dpq", "--trials", "2", output="honest"), loading.load_protocol

    def poisoned(*arguments, **options):
        dataset = load(*arguments, **options)
        query, database = (Split(Poison(len(s)), ~s.labels) for s in (dataset.query, dataset.database))
        return replace(dataset, query=query, database=database)

    monkeypatch.setattr(loading, "load_protocol", poisoned)
    assert results(tune("dpq", "--trials", "2")) == results(honest)
    assert honest.data.fingerprint.endswith("-validation-limit100")
    with pytest.raises(AssertionError, match="was read"):
        main(["run", "tiny", "--method", "dpq", "--limit", "100", "--output", "unused"])


def test_what_diverges_counts_as_a_trial(tune, monkeypatch, capsys):
    carry_out, number = benchmarks.tuning.call.carry_out, 0

    def failing(run, device, **options):
        nonlocal number
        number += 1
        if number == 2:
            raise Diverged("the loss became nan in epoch 1: lower the learning rate")
        return carry_out(run, device, **options)

    monkeypatch.setattr(benchmarks.tuning.call, "carry_out", failing)
    study = tune("dpq", "--trials", "3")
    assert [trial.state for trial in study.trials] == ["complete", "diverged", "complete"]
    assert "trial 2 of 3: diverged (the loss became nan" in capsys.readouterr().out
    assert study.best.number != 2


def test_trials_of_quantizers_that_come_again_are_counted_and_not_fitted(tune, monkeypatch, capsys):
    from benchmarks.setting.methods import METHODS

    entry = replace(METHODS["rq"].entry, ranges={"score": ("l2", "inner")})
    monkeypatch.setitem(METHODS["rq"].__dict__, "entry", entry)
    study = tune("rq", "--trials", "5")
    assert [trial.same_as for trial in study.trials] == [None, None, 1, 2, 1]
    assert [trial.settings["method.score"] for trial in study.trials] == ["l2", "inner", "l2", "inner", "l2"]
    assert [trial.seconds for trial in study.trials[2:]] == [0, 0, 0]
    assert "the setting of trial 1 again, which is counted and not trained" in capsys.readouterr().out


def test_trials_side_by_side_are_proposed_from_earlier_batches(tune, monkeypatch):
    seen = []

    def beside(runs, count, device, options, do, finished):
        seen.append((len(runs), count))
        for run in reversed(runs):  # in whatever order
            do(run, device, options.force)

    monkeypatch.setattr(benchmarks.tuning.call, "carry_out_beside", beside)
    whole = tune("dpq", "--trials", "3", "--parallel", "2")
    assert seen == [(2, 2), (1, 2)] and whole.batch == 2
    assert results(tune("dpq", "--trials", "1", "--parallel", "2", output="again")) == results(whole)[:1]
    assert results(tune("dpq", "--trials", "3", output="again")) == results(whole)  # one at once, of the same batches


def test_the_plan_writes_nothing_and_says_what_is_left(tune, tmp_path, capsys):
    assert tune("dqn", "--trials", "4", "--dry-run") is None
    said = capsys.readouterr().out
    assert "dqn: 4 trials, 0 of them done, 8 trainings left, which see" in said
    assert "is known after the first" in said and not (tmp_path / "results").exists()
    tune("dqn", "--trials", "1")
    capsys.readouterr()
    tune("dqn", "--trials", "4", "--dry-run")
    said = capsys.readouterr().out
    assert "1 of them done, 6 trainings left" in said and "by what its finished trials took" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "nope"], "unknown method 'nope'; choose from pq, "),
        (["--method", "rq-dpq"], "rq-dpq quantizes embeddings of dpq; tune dpq"),
        (["--most-epochs", "1"], "own 2 epochs; give --most-epochs as many"),
        (["--trials", "0"], "expected a positive number"),
        (["--method", "dpq", "--label-vectors", "nowhere.txt"], "cannot read label vectors from nowhere.txt"),
    ],
)
def test_mistakes_are_one_line(configs, tmp_path, capsys, arguments, message):
    assert main(["tune", "tiny", "--output", str(tmp_path / "results"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_without_optuna_the_extra_is_named(configs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmarks.tuning.call, "find_spec", lambda name: None)
    assert main(["tune", "tiny", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: tune needs Optuna; install it with: pip install '.[tune]'\n"


def test_another_setting_is_another_study(tune, capsys):
    tune("rq", "--trials", "1")
    tune("rq", "--trials", "1", "--seed", "3", status=2)
    assert "is a study with seed = 100, and this call has 3" in capsys.readouterr().err
    assert issubclass(Diverged, InputError)
