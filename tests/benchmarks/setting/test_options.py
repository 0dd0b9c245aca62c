"""The table of options: what it gives the parser, the experiment, a record's arguments and the sessions of nox."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import noxfile
from benchmarks.__main__ import main, make_parser
from benchmarks.records.store import read_record
from benchmarks.report.pages.commands import command_of
from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.options import GROUPS, OPTIONS
from benchmarks.setting.overrides import experiment_of, recorded_call
from dpq.__main__ import main as dpq
from tests.docs.commands import Stopped, session_commands

# For every option that sets a field: what is given, what the field is then, and how a record keeps it.
GIVEN = {
    "--bits": ("16,8,16", (8, 16), None),
    "--seeds": ("3,1", (3, 1), None),
    "--split-seeds": ("2", (2,), None),
    "--protocol": ("folder", "folder", "folder"),
    "--backbone": ("resnet18", "resnet18", "resnet18"),
    "--weights": ("none", "none", "none"),
    "--image-size": ("64", 64, "64"),
    "--epochs": ("3", 3, "3"),
    "--precision": ("bf16", "bf16", "bf16"),
    "--views": ("mirror", "mirror", "mirror"),
    "--label-vectors": ("somewhere/words.txt", "somewhere/words.txt", "words.txt"),
    "--limit": ("500", 500, "500"),
    "--validation": (None, True, None),
}


def field(setting, path):
    for name in path.split("."):
        setting = getattr(setting, name)
    return setting


def parsed(*arguments):
    return make_parser().parse_args(["run", "cifar10-cpu", *arguments])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("DPQ_DATA_ROOT", "DPQ_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


def test_every_option_that_sets_a_field_is_tried():
    assert set(GIVEN) == {flag for flag, option in OPTIONS.items() if option.path}


@pytest.mark.parametrize("flag", GIVEN)
def test_an_option_sets_its_field_and_no_other(flag):
    text, value, kept = GIVEN[flag]
    options = parsed(flag, *([text] if text else []))
    experiment, plain = experiment_of(options), experiment_of(parsed())
    assert field(experiment, OPTIONS[flag].path) == value != field(plain, OPTIONS[flag].path)
    # Own images are no other's, and are stored at the size of the network's input.
    further = {"name", "stored_side"} if flag == "--protocol" else set()
    plain = replace(plain, tuned=experiment.tuned)  # which has what no option sets
    top = OPTIONS[flag].path.split(".")[0]
    assert {name for name in vars(plain) if field(plain, name) != field(experiment, name)} == {top} | further
    if flag in ("--bits", "--seeds", "--split-seeds"):  # which a record keeps as its own
        assert recorded_call(options) == ("cifar10-cpu",)
    else:
        assert recorded_call(options) == ("cifar10-cpu", flag, *([kept] if kept else []))


def test_without_options_the_experiment_is_its_file():
    assert experiment_of(parsed()) == load_experiment("cifar10-cpu")
    assert recorded_call(parsed()) == ("cifar10-cpu",)


def test_what_decides_no_number_is_in_no_record():
    options = parsed(
        *("--data-root", "here", "--output", "there", "--device", "cpu", "--workers", "2", "--force"),
        *("--weights", "w.safetensors", "--allow-missing", "3", "--strip-prefix", "x", "--shard", "1/2"),
    )
    assert recorded_call(options) == ("cifar10-cpu",)
    assert experiment_of(options).backbone.weights == "w.safetensors"


def test_variables_are_defaults(monkeypatch):
    monkeypatch.setenv("DPQ_DATA_ROOT", "images")
    monkeypatch.setenv("DPQ_WEIGHTS", "w.pth")
    assert (parsed().data_root, parsed().weights) == (Path("images"), "w.pth")
    assert parsed("--weights", "none").weights == "none"
    monkeypatch.setenv("DPQ_DATA_ROOT", "")
    assert parsed().data_root is None


def test_an_option_stands_once_in_the_table_and_in_the_help(capsys):
    flags = [option.flag for group in GROUPS.values() for option in group]
    assert len(set(flags)) == len(flags)
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    printed = capsys.readouterr().out
    described = re.findall(r"^  (--[a-z-]+)", printed, re.MULTILINE)
    assert described == flags
    for title in GROUPS:
        assert f"\n{title}:\n" in printed


@pytest.mark.parametrize("arguments", [["run", "digits", "--epoch", "1"], ["table", "digits", "--out", "x"]])
def test_an_abbreviated_option_is_none(capsys, arguments):
    assert main(arguments) == 2
    assert f"unrecognized arguments: {arguments[2]}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["train photos --output m --epoch 1", "index search i x.png --prob 2"])
def test_an_abbreviated_option_of_the_library_is_none(capsys, arguments):
    assert dpq(arguments.split()) == 2
    assert "unrecognized arguments: --" in capsys.readouterr().err


def test_a_record_keeps_its_arguments_and_they_make_it_again(run_tiny):
    (path,) = run_tiny("--epochs", "3", "--variant", "released", "--seeds", "3", "--bits", "8")
    record = read_record(path).raw
    setting = ["--epochs", "3", "--limit", "100"]
    assert record["arguments"] == [
        *("run", "tiny", "--method", "dpq", "--variant", "released"),
        *("--seeds", "3", "--split-seeds", "0", "--bits", "8", *setting),
    ]
    before = path.read_bytes()
    command = command_of([record]).split()
    assert command[:3] == ["python", "-m", "benchmarks"]
    assert main([*command[3:], "--output", str(path.parents[2])]) == 0
    assert main([*record["arguments"], "--output", str(path.parents[2])]) == 0
    assert (path.read_bytes(), len(list(path.parent.glob("*.json")))) == (before, 1)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("gpu", [True, False])
def test_a_session_takes_the_setting_that_suits_the_device(monkeypatch, name, gpu):
    monkeypatch.setattr(noxfile, "_has_gpu", lambda session: gpu)
    commands = session_commands(f"reproduce-{name}")
    assert [command[3:] for command in commands] == [
        [what, name if gpu else f"{name}-cpu"] for what in ("run", "figures", "table")
    ]


def test_the_sessions_pass_options_on():
    output = ["--output=there", "--epochs", "1"]
    assert session_commands("reproduce-digits", output) == [
        ["python", "-m", "benchmarks", "run", "digits", *output],
        ["python", "-m", "benchmarks", "figures", "digits", "--output", "there"],
        ["python", "-m", "benchmarks", "table", "digits", "--output", "there"],
    ]
    for given in (["--experiment", "imagenet100-hashnet"], ["--experiment=imagenet100-hashnet"]):
        run, *_ = session_commands("reproduce-imagenet", [*given, "--data-root", "imagenet100-hashnet"])
        assert run[3:] == ["run", "imagenet100-hashnet", "--data-root", "imagenet100-hashnet"]
    for nothing_new in (["--help"], ["-h"], ["--dry-run"], ["--submit", "slurm", "--jobs", "2"], ["--submit=slurm"]):
        assert session_commands("reproduce-digits", nothing_new) == [
            ["python", "-m", "benchmarks", "run", "digits", *nothing_new]
        ]
    _, *made = session_commands("reproduce-cifar10", ["--protocol", "folder", "--data-root", "photos"])
    assert [command[3:] for command in made] == [["figures", "own"], ["table", "own"]]
    run, *made = session_commands("reproduce-cifar100", ["--experiment", "cifar100-unseen", "--seeds", "0"])
    assert run[3:] == ["run", "cifar100-unseen", "--seeds", "0"]
    assert [command[3:] for command in made] == [["figures", "cifar100-unseen"], ["table", "cifar100-unseen"]]
    with pytest.raises(Stopped, match="no images"):
        session_commands("reproduce-imagenet", ["--data", "here"])
