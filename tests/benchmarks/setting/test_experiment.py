import dataclasses
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from benchmarks.__main__ import main
from benchmarks.setting import experiment as config
from benchmarks.setting.experiment import (
    Experiment,
    describe,
    known_experiments,
    load_experiment,
    parse_experiment,
    read_experiment,
    with_settings,
)
from benchmarks.setting.methods import METHODS
from dpq import InputError
from dpq.learning.settings import Count
from dpq.method.config import DPQConfig

MINIMAL = 'protocol = "digits"\n[backbone]\nname = "resnet18"\n[training]\nepochs = 3\n'


@pytest.mark.parametrize("name", known_experiments())
def test_every_shipped_experiment_is_valid(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.bits == (8, 16, 24, 32)


def test_the_contracted_experiments_are_there():
    assert {"digits", "cifar10", "cifar10-cpu"} <= set(known_experiments())


def test_unseen_classes_are_searched_in_the_setting_of_the_seen_ones():
    ours, theirs = load_experiment("cifar10-unseen"), load_experiment("cifar10-cpu")
    own = ("name", "protocol", "split_seeds", "seeds", "tuned")
    assert dataclasses.replace(ours, **{name: getattr(theirs, name) for name in own}) == theirs
    assert [one.split_seed for one in ours.splits()] == [0, 1, 2]


def test_cifar100_has_the_setting_of_cifar10_and_one_for_cpus():
    ours, theirs = load_experiment("cifar100"), load_experiment("cifar10")
    assert dataclasses.replace(ours, name="cifar10", protocol="cifar10", tuned=theirs.tuned) == theirs
    small, unseen = load_experiment("cifar100-cpu"), load_experiment("cifar100-unseen")
    own = ("name", "protocol", "split_seeds", "seeds", "tuned")
    assert dataclasses.replace(unseen, **{name: getattr(small, name) for name in own}) == small
    assert [one.split_seed for one in unseen.splits()] == [0, 1, 2, 3, 4]
    assert small.backbone == ours.backbone


def test_values_are_read_and_defaults_kept():
    experiment = parse_experiment(
        "x", MINIMAL + "learning_rate = 1\n[methods.dpq]\ntau = 0.5\nhard_choice = 'cosine'\n"
    )
    assert experiment.training.epochs == 3
    assert experiment.training.learning_rate == 1.0
    assert experiment.settings_of("dpq").tau == 0.5
    assert experiment.settings_of("dpq").hard_choice == "cosine"
    assert experiment.split_seed == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "epoch = 3\n", "unknown key 'epoch' in x.training"),
        (MINIMAL.replace("epochs = 3", "epochs = 'many'"), "x.training.epochs must be a whole number; got 'many'"),
        (MINIMAL.replace("epochs = 3", "epochs = true"), "x.training.epochs must be a whole number; got True"),
        (MINIMAL + "optimizer = 'lion'\n", "x.training.optimizer must be 'adamw' or 'sgd'"),
        (MINIMAL.replace("epochs = 3", ""), "x.training.epochs is missing"),
        ("protocol = ", "no valid TOML"),
        ("backbone = 3\n" + MINIMAL.replace('[backbone]\nname = "resnet18"\n', ""), "x.backbone must be a table"),
        ("bits = ['8']\n" + MINIMAL, r"x.bits\[0\] must be a whole number; got '8'"),
        ("bits = []\n" + MINIMAL, "x: bits must be a list of different numbers, at least one"),
        ("seeds = [1, 1]\n" + MINIMAL, "x: seeds must be a list of different numbers"),
        ("seeds = [-1]\n" + MINIMAL, r"x.seeds\[0\] must be at least 0; got -1"),
        ("name = '../x'\n" + MINIMAL, "unknown key 'name' in x"),
        (MINIMAL.replace("epochs = 3", "epochs = 0"), "x.training.epochs must be at least 1; got 0"),
        (MINIMAL.replace("epochs = 3", "epochs = " + "9" * 5000), "no valid TOML"),
        (MINIMAL + "learning_rate = nan\n", "x.training.learning_rate must be a finite number; got nan"),
        (MINIMAL + "learning_rate = " + "9" * 400 + "\n", "learning_rate must be a finite number; got 999"),
        ("methods = 3\n" + MINIMAL, "x.methods must be a table; got 3"),
        (MINIMAL + "x = " + "[" * 5000, "x is nested too deeply"),
        (MINIMAL + f"optimizer = '{'y' * 500}'\n", r"got 'y{56}\.\.\.$"),
    ],
)
def test_mistakes_are_named(text, words):
    with pytest.raises(InputError, match=words):
        parse_experiment("x", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[methods.dpq]\ntaw = 1", "unknown key 'taw' in x.methods.dpq; known are classification, "),
        ("[methods.dpq]\ntau = -1", "x.methods.dpq.tau must be at least 0"),
        ("[methods]\ndpq = 3", "x.methods.dpq must be a table; got 3"),
        ("[methods.pq-dpq]", "unknown key 'pq-dpq' in x.methods; known are csq, "),
    ],
)
def test_mistakes_in_the_settings_of_a_method_are_named(text, words):
    with pytest.raises(InputError, match=words):
        with_settings(parse_experiment("x", MINIMAL + text))


def test_a_run_reads_the_settings_of_all_methods_first(configs, tmp_path, capsys):
    (configs / "tiny.toml").write_text(MINIMAL + "[methods.dtq]\nsweep = 3\n")
    assert main(["run", "tiny", "--method", "pq", "--output", str(tmp_path)]) == 2
    assert "unknown key 'sweep' in tiny.methods.dtq; known are codes_on, " in capsys.readouterr().err


def test_unknown_experiments_list_the_known_ones():
    with pytest.raises(InputError, match=r"unknown experiment 'cifar'; choose one of .*cifar10"):
        load_experiment("cifar")


def test_a_record_keeps_everything_but_seeds_and_winners():
    experiment = parse_experiment("x", "stored_side = 256\nsplit_seeds = [2]\n" + MINIMAL)
    description = describe(experiment, ("dpq", "pq"))
    names = {f.name for f in dataclasses.fields(experiment)}
    assert set(description) == names - {"seeds", "split_seeds", "tuned"} | {"split_seed"}
    assert description["split_seed"] == 2
    assert set(description["methods"]) == {"dpq", "pq"}
    assert description["methods"]["dpq"]["tau"] == experiment.settings_of("dpq").tau


def test_a_setting_that_other_protocols_do_not_have_leaves_their_identities_alone():
    assert "stored_side" not in describe(parse_experiment("x", MINIMAL), ("dpq",))


def unbounded(kind):
    """Names of the fields of a dataclass, and of those inside it, that hold numbers without bounds."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from unbounded(hint)
        elif get_origin(hint) is not Annotated and {int, float} & {hint, *get_args(hint)}:
            yield name


def test_every_number_has_bounds():
    settings = [method.entry.config for method in METHODS.own.values() if method.entry.config]
    assert DPQConfig in settings
    assert [name for kind in (Experiment, *settings) for name in unbounded(kind)] == []
    assert list(unbounded(Setting)) == ["open"]


@dataclasses.dataclass
class Setting:
    bounded: Count
    open: float | None
    also: tuple[Count, ...]


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path, monkeypatch):
    (tmp_path / "x.toml").write_bytes(MINIMAL.encode() + b"# \xff\n")
    with pytest.raises(InputError, match=r"cannot read configuration .*x\.toml"):
        read_experiment("x", tmp_path / "x.toml")
    (tmp_path / "x.toml").write_text(MINIMAL)
    monkeypatch.setattr(config, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_experiment("x", tmp_path / "x.toml")
