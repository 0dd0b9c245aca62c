"""Every mistake: one line on stderr, exit status 2, nothing written."""

import os
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dpq.protocols.folder.load
import dpq.protocols.listed.load
from benchmarks.__main__ import main
from benchmarks.setting.building import check_sizes
from benchmarks.setting.experiment import BackboneConfig, load_experiment
from benchmarks.setting.methods import METHODS
from dpq import InputError
from dpq.method.dpq import DPQMethod
from dpq.protocols import ReadOptions, load_protocol
from tests.dpq.protocols.miniatures import write_mini_nuswide
from tests.dpq.protocols.own_images import write_splits


@pytest.fixture
def refuse(configs, tmp_path, capsys):
    """Run `tiny` with arguments that have to be refused; returns the line on stderr."""

    def run(*arguments, experiment="tiny", output=None):
        target = output or tmp_path / "results"
        status = main(["run", experiment, "--limit", "100", "--output", str(target), *map(str, arguments)])
        error = capsys.readouterr().err
        assert status == 2, error
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        assert not (tmp_path / "results").exists()
        return error

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--method", "svm"],
            f"unknown method 'svm'; choose from {', '.join(METHODS)}",
        ),
        (["--backbone", "resnet1000"], "unknown backbone 'resnet1000'"),
        (["--device", "tpu"], "unknown device 'tpu'; choose auto, cpu or cuda"),
        (["--variant", "printed"], "unknown variant 'printed'"),
        (["--precision", "8"], "unknown precision '8'"),
        (["--views", "ten"], "unknown views 'ten'; choose one of centre, mirror, ten-crop"),
        (["--bits", "6"], "code lengths must be multiples of 4 bits (log2 of 16 codewords); got 6"),
        (["--bits", "0"], "each from 1 to 1024, got '0'"),
        (["--bits", "2048"], "--bits: expected numbers separated by commas, each from 1 to 1024, got '2048'"),
        (["--seeds", "-1"], "--seeds: expected numbers separated by commas, each from 0 to 2147483647, got '-1'"),
        (["--seeds", "0,2147483648"], "got '0,2147483648'"),
        (["--split-seeds", "-3"], "got '-3'"),
        (["--image-size", "100001"], "expected a number from 1 to 100000, got '100001'"),
        (["--limit", "1000000001"], "expected a number from 1 to 1000000000"),
        (["--limit", "3,4"], "expected a number from"),
        (["--label-vectors", "\udcff.txt"], "--label-vectors: expected a name in UTF-8"),
        (["--weights", "\udcff.pth"], "--weights: expected a name in UTF-8"),
        (["--backbone", "\udcff"], "--backbone: expected a name in UTF-8"),
        (["--bits", "eight"], "expected numbers separated by commas"),
        (["--epochs", "0"], "expected a number from 1 to 1000000000, got '0'"),
        (
            ["--limit", "5"],
            "some of the 10 classes; raise it; on the command line: --limit N",
        ),
        (["--limit", "10"], "16 codewords per level need at least as many training images; got 6"),
        (
            ["--weights", "nowhere.safetensors"],
            "or none to start from scratch; on the command line: --weights FILE",
        ),
        (["--label-vectors", "nowhere.txt"], "cannot read label vectors"),
        (["--backbone", "efficientformer_l1"], "efficientformer_l1 takes no images of 32 pixels"),
        (["--backbone", "resnet18.nonsense"], "unknown weights 'nonsense' of backbone resnet18"),
        (
            ["--variant", "released", "--epochs", "1", "--method", "dpq"],
            "of 1 leaves none; raise epochs; on the command line: --epochs N",
        ),
        (["--variant", "released", "--epochs", "1", "--method", "all"], "of 1 leaves none"),
        (["--ablation", "two-step", "--epochs", "1"], "two_step trains the network in feature epochs alone"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_bad_arguments(refuse, arguments, words):
    assert words in refuse(*arguments)


def refused(train, classes):
    raise InputError(f"{train} training images of {classes} classes are refused")


def test_sizes_are_checked_before_the_first_image_is_decoded(tmp_path, monkeypatch):
    for module in (dpq.protocols.folder.load, dpq.protocols.listed.load):
        monkeypatch.setattr(module, "store_images", None)
    write_splits(tmp_path / "photos", each=3)
    write_mini_nuswide(tmp_path / "nuswide")
    for protocol, root, words in (("folder", "photos", "6 training images of 2"), ("nuswide21", "nuswide", "of 21")):
        options = ReadOptions(16, 10**6, check=refused)
        with pytest.raises(InputError, match=f"{words} classes are refused"):
            load_protocol(protocol, tmp_path / root, tmp_path / "cache", options)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": 9}, "leaves no image for some of the 10 classes"),
        ({"limit": 10}, "at least as many training images; got 10"),
        ({"limit": None}, "at least as many training images; got 12"),
        ({"backbone": BackboneConfig("test_resnet", "none", 9)}, "raise the embedding dimension"),
    ],
)
def test_a_setting_that_images_are_not_enough_for(configs, changes, words):
    with pytest.raises(InputError, match=words):
        check_sizes(replace(load_experiment("tiny"), **changes), 16 if "backbone" in changes else 12, 10)


def test_an_unknown_experiment(refuse):
    assert "unknown experiment 'flowers'; choose one of tiny" in refuse(experiment="flowers")


def test_an_unknown_protocol(refuse, configs):
    text = (configs / "tiny.toml").read_text()
    (configs / "odd.toml").write_text(text.replace('"digits"', '"flowers"'))
    assert "flowers" in refuse(experiment="odd")


def test_no_cuda_device(refuse, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device is available; use --device cpu" in refuse("--device", "cuda")


def test_a_command_is_needed(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_weights_that_do_not_fit_name_the_keys(refuse, tmp_path):
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    error = refuse("--weights", tmp_path / "w.safetensors")
    assert "does not fit test_resnet" in error
    assert "conv1.0.weight" in error


def test_label_vectors_of_the_wrong_shape(refuse, tmp_path):
    np.savetxt(tmp_path / "v.txt", np.ones((9, 16)))
    assert "holds 9 vectors of 16 numbers; expected 10 rows" in refuse("--label-vectors", tmp_path / "v.txt")


def test_an_archive_that_is_truncated(refuse, configs, tmp_path):
    text = (configs / "tiny.toml").read_text()
    (configs / "odd.toml").write_text(text.replace('"digits"', '"cifar10"'))
    (tmp_path / "cifar10-jpeg.tar.xz").write_bytes(b"\xfd7zXZ\x00 cut short")
    assert "cifar10-jpeg.tar.xz" in refuse("--data-root", tmp_path, experiment="odd")


def test_a_data_root_with_nothing_in_it(refuse, configs, tmp_path):
    text = (configs / "tiny.toml").read_text()
    (configs / "odd.toml").write_text(text.replace('"digits"', '"cifar10"'))
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refuse("--data-root", tmp_path / "empty", experiment="odd")


def test_an_output_that_is_a_file(refuse, tmp_path):
    (tmp_path / "file").write_text("")
    assert "choose another --output" in refuse(output=tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_is_read_only(refuse, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert "choose another --output" in refuse(output=locked / "results")


def test_a_loss_that_is_not_finite(configs, tmp_path, monkeypatch, capsys):
    losses = DPQMethod.losses

    def poisoned(self, inputs, labels, rows, epoch):
        terms = losses(self, inputs, labels, rows, epoch)
        return terms | {"margin": terms["margin"] * float("inf")} if epoch == 1 else terms

    monkeypatch.setattr(DPQMethod, "losses", poisoned)
    only = ["--limit", "100", "--method", "dpq"]
    assert main(["run", "tiny", *only, "--output", str(tmp_path / "results")]) == 2
    assert "at step 2; the checkpoint of epoch 1 is kept" in capsys.readouterr().err
    assert not (tmp_path / "results/tiny/runs").exists()
    assert len(list((tmp_path / "results/tiny/checkpoints").iterdir())) == 1


@pytest.mark.parametrize("command", ["table", "figures"])
def test_tables_and_figures_without_records(configs, tmp_path, capsys, command):
    assert main([command, "tiny", "--output", str(tmp_path)]) == 2
    assert "no records under" in capsys.readouterr().err
    assert not (tmp_path / "tiny").exists()


def test_evaluating_what_is_no_record(tmp_path, capsys):
    (tmp_path / "r.json").write_text("{}")
    assert main(["evaluate", str(tmp_path / "r.json")]) == 2
    assert "is no result record" in capsys.readouterr().err
