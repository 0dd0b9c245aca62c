import pickle
import sys
import types

import pytest
import torch

from benchmarks.bench.calls import Call
from benchmarks.bench.parts import timeline
from benchmarks.bench.report import Options, as_written, render

CPU = torch.device("cpu")
QUICK = Options(CPU, 1, quick=True)


def here(*sent):
    """In this process, what another would be sent."""
    prepare, given, work = pickle.loads(pickle.dumps(sent))
    return work(prepare(*given)), 0.0


@pytest.fixture
def apart(monkeypatch):
    """What a call in a process of its own is: code of Python's, as a command with these options."""

    def call(code, folder):
        monkeypatch.setattr(Call, "arguments", property(lambda _: []))
        monkeypatch.setattr(timeline.sys, "executable", sys.executable)
        popen = timeline.subprocess.Popen
        monkeypatch.setattr(
            timeline.subprocess, "Popen", lambda command, **more: popen([command[0], "-c", code], **more)
        )
        return Call("digits", (), "cpu", None, folder)

    return call


def test_the_report_has_every_part_of_a_run_and_the_experiment(monkeypatch, tmp_path):
    monkeypatch.setenv("DPQ_CACHE", "elsewhere")  # and is restored
    monkeypatch.setattr(timeline, "_start", lambda: 1.5)
    monkeypatch.setattr(timeline, "extra_memory", here)
    monkeypatch.setattr(timeline, "busy", lambda *_: (70.0, {"experiment": "digits"}))
    report = timeline.measure(QUICK)
    rows = {row["part"]: float(row["seconds"]) for row in report.tables["A run"]}
    parts = [timeline.STARTED, timeline.DECODED, timeline.OPENED, *timeline.PHASES, timeline.REST]
    assert list(rows) == [*parts, timeline.TABLES, timeline.FIGURES]
    assert rows[timeline.STARTED] == 1.5
    assert rows[timeline.DECODED] > 0
    shares = [float(row["share"].rstrip("%")) for row in report.tables["A run"] if row["part"] != timeline.OPENED]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert "run digits" in render(as_written(report, QUICK))
    assert not report.promises  # of small sizes


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_full_sizes_are_those_of_the_setting(device, monkeypatch, tmp_path):
    written = {}
    monkeypatch.setattr(timeline, "write_images", lambda root, classes, each: written.update(each))
    call = timeline.one_run(Options(torch.device(device), 1), tmp_path)
    assert written == {"train": 5000, "test": 1000}
    assert call.experiment == ("cifar10" if device == "cuda" else "cifar10-cpu")
    assert ("--epochs" in call.options) == (device == "cpu")
    whole = timeline.whole_experiment(Options(torch.device(device), 1), call, tmp_path / "whole")
    assert (whole.experiment, whole.options) == (("cifar10", ("--seeds", "0")) if device == "cuda" else ("digits", ()))


def test_a_command_is_timed_with_its_records(apart, tmp_path):
    code = "from pathlib import Path; p = Path('{0}/results/x/runs'); p.mkdir(parents=True); (p / 'a.json').touch()"
    seconds, row = timeline.busy(apart(code.format(tmp_path), tmp_path), CPU)
    assert 0 < seconds == pytest.approx(float(row["seconds"]), abs=0.06)
    assert (row["records"], row["card busy"]) == (1, timeline.NOT_MEASURED)
    assert row["processors busy"].endswith(" %")


def test_what_takes_too_long_is_ended_and_says_so(apart, tmp_path, monkeypatch):
    monkeypatch.setitem(timeline.LIMITS, "cpu", 0.2)
    monkeypatch.setattr(timeline, "BETWEEN", 0.1)
    row = timeline.busy(apart("import time; time.sleep(600)", tmp_path), CPU)[1]
    assert row["seconds"].endswith("(ended then)")


def test_what_fails_says_why(apart, tmp_path):
    with pytest.raises(RuntimeError, match="failed: ValueError: no such thing"):
        timeline.busy(apart("raise ValueError('no such thing')", tmp_path), CPU)


def test_a_card_tells_by_itself_or_by_its_driver(monkeypatch):
    card = torch.device("cuda")
    assert timeline.card_use(CPU) is None
    monkeypatch.setattr(torch.cuda, "utilization", lambda _device: 71)
    assert timeline.card_use(card) == 71

    def without(_device):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", without)
    for told, use in (("63\n", 63.0), ("[N/A]\n", None), ("", None)):
        monkeypatch.setattr(
            timeline.subprocess, "run", lambda *_, told=told, **__: types.SimpleNamespace(stdout=told, returncode=0)
        )
        assert timeline.card_use(card) == use

    def absent(*_, **__):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(timeline.subprocess, "run", absent)
    assert timeline.card_use(card) is None
