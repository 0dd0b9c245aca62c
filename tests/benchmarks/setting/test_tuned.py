"""Winners of studies in an experiment's file, and what a call makes of them."""

import pytest

from benchmarks.__main__ import main, make_parser
from benchmarks.setting.experiment import describe, parse_experiment, with_settings
from benchmarks.setting.overrides import choose_tuned, experiment_of
from dpq import InputError
from dpq.learning.settings import as_recorded
from tests.benchmarks.conftest import TINY

TUNED = """
[tuned.dpq]
study = "dpq-2"
label_vectors = "words.txt"
[tuned.dpq.training]
learning_rate = 2e-3
epochs = 5
augmentation.shift = 0.2
[tuned.dpq.method]
margin = 8
"""


@pytest.fixture
def tuned(configs):
    (configs / "tiny.toml").write_text(TINY + TUNED)


def called(*arguments):
    return experiment_of(make_parser().parse_args(["run", "tiny", *arguments]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tuned.dpk]\nstudy = 'x'", "unknown key 'dpk' in x.tuned; known are "),
        ("[tuned.rq-dpq]\nstudy = 'x'", "unknown key 'rq-dpq' in x.tuned"),
        ("[tuned.dpq]", "x.tuned.dpq.study is missing"),
        ("[tuned.dpq]\nstudy = '../x'", r"x.tuned.dpq.study must be a file's name .*; got '\.\./x'"),
        ("[tuned.dpq]\nstudy = 'x'\nepochs = 3", "unknown key 'epochs' in x.tuned.dpq; known are label_vectors, "),
        ("[tuned.dpq]\nstudy = 'x'\ntraining.epoch = 3", "unknown key 'epoch' in x.tuned.dpq.training; known are"),
        ("[tuned.dpq]\nstudy = 'x'\ntraining.dropout = 2.0", "x.tuned.dpq.training.dropout must be at most 1"),
        ("[tuned.dpq]\nstudy = 'x'\ntraining.epochs.x = 1", "x.tuned.dpq.training.epochs must be a whole number"),
        ("[tuned.dpq]\nstudy = 'x'\ntraining.augmentation = 1", "x.tuned.dpq.training.augmentation must be a table"),
        ("[tuned.dpq]\nstudy = 'x'\ntraining.augmentation.turn = 1", "unknown key 'turn' in .*training.augmentation"),
        *(
            (f"[tuned.dpq]\nstudy = 'x'\ntraining.{field} = 1", f"dpq.training.{field} decides the data or the eval")
            for field in ("image_size", "evaluation_views", "precision", "augmentation.crop")
        ),
        ("[tuned.dpq]\nstudy = 'x'\nmethod.marge = 1", "unknown key 'marge' in x.tuned.dpq.method; known are"),
        ("[tuned.pq]\nstudy = 'x'\nmethod.score = 'l3'", "x.tuned.pq.method.score must be 'inner' or 'l2'"),
    ],
)
def test_mistakes_are_named(text, words):
    with pytest.raises(InputError, match=words):
        with_settings(parse_experiment("x", TINY + text))


def test_a_method_has_what_its_study_chose_and_the_rest_is_shared():
    shared = parse_experiment("x", TINY + TUNED)
    for experiment in (shared, with_settings(shared)):
        own = experiment.tuned_as("dpq")
        assert own.label_vectors == "words.txt"
        changed = {"learning_rate": 2e-3, "epochs": 5}
        augmentation = as_recorded(shared.training.augmentation) | {"shift": 0.2}
        assert as_recorded(own.training) == as_recorded(shared.training) | changed | {"augmentation": augmentation}
        table = as_recorded(shared.settings_of("dpq")) | {"margin": 8.0}
        assert as_recorded(own.settings_of("dpq")) == table
        assert own.settings_of("dqn") == shared.settings_of("dqn")
        for control in ("rq-dpq", "pq-dpq", "label-code"):
            assert experiment.tuned_as(control) == own
        assert experiment.tuned_as("dqn") is None


def test_records_of_the_shared_setting_know_nothing_of_winners():
    assert describe(parse_experiment("x", TINY + TUNED), ("dpq",)) == describe(parse_experiment("x", TINY), ("dpq",))


def test_the_command_line_wins(tuned):
    assert called().tuned_as("dpq").training.epochs == 5
    own = called("--epochs", "1", "--image-size", "64").tuned_as("dpq")
    assert (own.training.epochs, own.training.image_size) == (1, 64)
    assert (own.training.learning_rate, own.label_vectors) == (2e-3, "words.txt")
    own = called("--label-vectors", "others.txt").tuned_as("dpq")
    assert (own.label_vectors, own.training.epochs) == ("others.txt", 5)


def test_methods_without_a_study_are_left_out(tuned, caplog):
    caplog.set_level("INFO")
    assert choose_tuned(["pq", "dpq", "rq-dpq", "dqn"], called()) == ["dpq", "rq-dpq"]
    assert caplog.messages == ["left out, as no study of tiny has tuned them: pq, dqn"]
    with pytest.raises(InputError, match=r"no study of tiny has tuned pq; make some with: .* tune tiny --method pq"):
        choose_tuned(["pq"], called())
    with pytest.raises(InputError, match="no study of own has tuned dpq"):  # those of other data are none
        choose_tuned(["dpq"], called("--protocol", "folder"))


@pytest.mark.parametrize("other", [["--ablation", "no-soft"], ["--variant", "released"]])
def test_studies_are_of_the_plain_method(tuned, tmp_path, capsys, other):
    assert main(["run", "tiny", "--tuned", "--output", str(tmp_path), *other]) == 2
    assert "leave out --tuned, or --ablation and --variant" in capsys.readouterr().err
