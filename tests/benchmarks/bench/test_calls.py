from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.bench import calls
from benchmarks.bench.calls import PHASES, WHOLE, Call, last_line, prepare, quietly, run, write_images

SMALL = ("--backbone", "test_resnet", "--image-size", "32", "--epochs", "1", "--method", "dpq", "--bits", "8")


@pytest.mark.parametrize("drawn", [2, 512])
def test_images_are_of_their_class_and_no_two_are_alike(tmp_path, monkeypatch, drawn):
    monkeypatch.setattr(calls, "DRAWN", drawn)
    write_images(tmp_path, ("cat", "dog", "hen"), {"train": 5, "query": 2})
    files = sorted(tmp_path.rglob("*.png"))
    assert [path.relative_to(tmp_path).parts[:2] for path in files].count(("train", "dog")) == 5
    assert len(files) == 3 * 7
    pixels = [np.asarray(Image.open(path)) for path in files]
    assert {one.shape for one in pixels} == {(32, 32, 3)}
    assert len({one.tobytes() for one in pixels}) == len(files)


def test_images_of_a_class_are_more_alike_than_others(tmp_path):
    write_images(tmp_path, ("cat", "dog"), {"train": 4})
    cats, dogs = (
        torch.stack([torch.from_numpy(np.array(Image.open(path))).float() for path in sorted(folder.iterdir())])
        for folder in sorted((tmp_path / "train").iterdir())
    )
    assert (cats[:2] - cats[2:]).abs().mean() < (cats[:2] - dogs[:2]).abs().mean()


def test_a_call_says_where_its_images_and_records_are(tmp_path):
    call = Call("own", ("--seeds", "1"), "cpu", Path("images"), tmp_path)
    assert call.arguments[:4] == ["run", "own", "--seeds", "1"]
    assert call.arguments[4:6] == ["--data-root", "images"]
    assert call.arguments[-1] == str(call.output)
    assert "--data-root" not in Call("digits", (), "cpu", None, tmp_path).arguments


def test_a_run_has_the_seconds_of_its_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPQ_CACHE", "elsewhere")  # and is restored
    write_images(tmp_path / "images", ("cat", "dog"), {"train": 128, "query": 2, "database": 10})
    call = prepare(Call("own", (*SMALL, "--seeds", "0,1"), "cpu", tmp_path / "images", tmp_path))
    found = run(call)
    assert list(found) == [WHOLE, *PHASES]
    assert found[WHOLE] >= sum(found[phase] for phase in PHASES) > 0
    assert len(list(call.output.glob("own/runs/*.json"))) == 2
    assert (tmp_path / "cache").is_dir()
    assert capsys.readouterr().out == ""


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"run nope failed: error: .*nope"):
        quietly(["run", "nope"])


def test_the_last_line_is_the_last_that_says_something():
    assert last_line("one\ntwo\n\n  \n") == "two"
    assert last_line("") == ""
