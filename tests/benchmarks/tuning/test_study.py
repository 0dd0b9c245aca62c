import json
import tomllib
from dataclasses import replace

import pytest

from benchmarks.tuning.study import as_toml, continued, known, read_studies, read_study, study_path, write_study
from dpq import InputError
from tests.benchmarks.tuning.made_up import make_study


def test_a_study_is_read_as_it_was_written(tmp_path):
    study = make_study(values=(0.5, None, 0.75, 0.75))
    path = study_path(tmp_path, "cifar10-cpu", "dpq")
    write_study(path, study)
    assert read_study(path) == study
    assert read_studies(tmp_path) == read_studies(tmp_path, "cifar10-cpu") == [study]
    assert read_studies(tmp_path, "cifar10") == read_studies(tmp_path / "nowhere") == []
    assert study.best == study.trials[2]  # the first of the best


def test_the_winner_is_a_table_of_an_experiment():
    study = make_study(values=(0.5, 0.6))
    assert tomllib.loads(as_toml(study, study.best))["tuned"] == {
        "dpq": {"study": "dpq", "training": {"learning_rate": 0.002}, "method": {"margin": 6.0}}
    }


def test_the_next_trials_know_those_of_earlier_batches():
    trials = make_study(values=(0.1, 0.2, 0.3)).trials
    assert [value for _, value in known(trials, 1)] == [0.1, 0.2, 0.3]
    assert [value for _, value in known(trials, 2)] == [0.1, 0.2]
    assert known(trials, 4) == []


def changed(study, place, /, **values):
    trials = list(study.trials)
    trials[place - 1] = replace(trials[place - 1], **values)
    return replace(study, trials=tuple(trials))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda study: changed(study, 2, number=3), "trial 2 has another number"),
        (lambda study: changed(study, 2, settings={"training.learning_rate": 1.0}), "settings that are not searched"),
        (lambda study: changed(study, 2, value=0.7), "the value of trial 2 is not the mean over its lengths"),
        (lambda study: changed(study, 2, map={"8": 0.6}), "its numbers are not those of such a trial"),
        (lambda study: changed(study, 2, value=None), "its numbers are not those of such a trial"),
        (lambda study: changed(study, 2, same_as=1), "repeats trial None, and says 1"),
        (lambda study: changed(study, 2, settings=study.trials[0].settings), "repeats trial 1, and says None"),
        (lambda study: replace(study, method="dqn"), "it is of dqn in cifar10-cpu"),
        (lambda study: replace(study, seed=-1), "seed must be at least 0"),
    ],
)
def test_a_study_at_odds_with_itself_is_refused(tmp_path, wrong, message):
    path = study_path(tmp_path, "cifar10-cpu", "dpq")
    write_study(path, wrong(make_study(values=(0.5, 0.6))))
    with pytest.raises(InputError, match=f"is no usable study: .*{message}"):
        read_study(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = study_path(tmp_path, "cifar10-cpu", "dpq")
    write_study(path, make_study())
    table = json.loads(path.read_text())
    for text in ("", "[]", json.dumps(table | {"schema_version": 2}), json.dumps(table | {"more": 1})):
        path.write_text(text)
        with pytest.raises(InputError, match="is no usable study"):
            read_study(path)


def test_only_the_study_that_was_begun_goes_on(tmp_path):
    path, begun = study_path(tmp_path, "cifar10-cpu", "dpq"), make_study(values=())
    assert continued(path, begun) is begun
    study = make_study(values=(0.5, 0.6))
    write_study(path, study)
    assert continued(path, begun) == study
    assert continued(path, replace(begun, batch=4)).batch == study.batch  # which keeps its proposals the same
    with pytest.raises(InputError, match="is a study with seed = 100, and this call has 7; give the options"):
        continued(path, replace(begun, seed=7))
    other = replace(begun, ranges=begun.ranges | {"method.margin": (1.0, 30.0, "log")})
    with pytest.raises(InputError, match=r"with ranges\.method\.margin = "):
        continued(path, other)
