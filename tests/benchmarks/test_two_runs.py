"""Two processes on one output folder share the work, and neither repeats or harms what the other does."""

import json

import pytest

import benchmarks.running.evaluation
import benchmarks.running.locks
from benchmarks.__main__ import main
from benchmarks.records.store import read_record
from benchmarks.running.locks import record_lock
from dpq.learning.training import Trainer
from tests.benchmarks.children import Child, command, hear, results, say
from tests.benchmarks.running.test_locks import hold


def arguments(output, *methods):
    few = ["--limit", "100", "--epochs", "2", "--seeds", "0"]
    return ["run", "tiny", "--method", *methods, *few, "--output", str(output)]


def pause(number):
    """Stop before the training step of that number until the test says more."""
    step = Trainer.step

    def steps(self, rows, geometry, current):
        if current == number:
            say("paused")
            hear()
        return step(self, rows, geometry, current)

    Trainer.step = steps


def say_locks():
    """Say what is logged of locks."""
    benchmarks.running.locks.log.info = lambda text, *args: say(text % args)


@pytest.fixture
def whole(configs, tmp_path):
    """What the methods leave when nothing else goes on."""

    def run(*methods):
        child = Child(tmp_path, command, arguments(tmp_path / "whole", *methods))
        assert child.end() == 0
        return results(tmp_path / "whole")

    return run


def test_the_second_process_does_what_the_first_does_not_and_waits_for_the_rest(whole, tmp_path):
    expected = whole("dtq", "dpq")
    output = tmp_path / "results"
    first = Child(tmp_path, command, arguments(output, "dtq", "dpq"), pause, 0)
    assert first.hear() == "paused"
    second = Child(tmp_path, command, arguments(output, "dtq", "dpq"), say_locks)
    holder = f"process {first.pid} on "
    for _ in ("4 bits", "8 bits"):
        assert holder in (said := second.hear())
        assert said.endswith("going on with what else there is")
    assert f"waiting for {holder}" in second.hear()
    assert [json.loads(path.read_text())["method"] for path in output.glob("tiny/runs/*.json")] == ["dpq"]
    first.tell("go on")
    assert (first.end(), second.end()) == (0, 0)
    assert results(output) == expected
    epochs = [line[:9] for line in (first.err + second.err).splitlines() if line.startswith("epoch")]
    assert sorted(epochs) == ["epoch 1/2"] * 2 + ["epoch 2/2"] * 3  # both lengths of DTQ share their first epoch
    assert "another process has done it meanwhile" in first.err
    assert "another process has done it meanwhile" in second.err


def test_force_waits_for_a_training_that_goes_on(whole, tmp_path):
    expected = whole("dpq")
    output = tmp_path / "results"
    first = Child(tmp_path, command, arguments(output, "dpq"), pause, 1)
    assert first.hear() == "paused"
    second = Child(tmp_path, command, [*arguments(output, "dpq"), "--force"], say_locks)
    assert f"waiting for process {first.pid} on " in second.hear()
    first.tell("go on")
    assert (first.end(), second.end()) == (0, 0)
    assert results(output) == expected
    assert "epoch 1/2" in second.err


@pytest.fixture
def wrong(run_tiny):
    """A record with one wrong number, and the right one."""
    (path,) = run_tiny()
    right = read_record(path).raw
    record = read_record(path).raw
    record["lengths"][0]["map"] = 0.123
    path.write_text(json.dumps(record, indent=1))
    return path, right


def test_evaluate_does_not_overwrite_what_a_run_wrote_meanwhile(wrong, monkeypatch, capsys):
    path, right = wrong
    evaluate_again = benchmarks.running.evaluation.evaluate_again
    other = json.dumps(right | {"float_map": 0.5})

    def slow(*args, **kwargs):
        path.write_text(other)
        return evaluate_again(*args, **kwargs)

    monkeypatch.setattr(benchmarks.running.evaluation, "evaluate_again", slow)
    assert main(["evaluate", str(path)]) == 2
    assert "written by another process meanwhile; evaluate it again" in capsys.readouterr().err
    assert path.read_text() == other


def test_evaluate_waits_for_a_record_that_is_being_written(wrong, tmp_path, monkeypatch):
    path, right = wrong
    left = path.with_name(f".{path.name}.abcdefgh")  # by one that was killed
    left.write_text("half")
    child = Child(tmp_path, hold, record_lock(path))
    assert child.hear() == "held"
    before = path.read_text()
    seen = []

    def waiting(text, *args):
        seen.append(path.read_text())
        child.tell("let go")

    monkeypatch.setattr(benchmarks.running.locks.log, "info", waiting)
    assert main(["evaluate", str(path)]) == 0
    assert seen == [before]
    assert child.end() == 0
    assert read_record(path).raw == right
    assert not left.exists()


def test_a_run_waits_for_a_record_that_is_being_written(run_tiny, tmp_path, monkeypatch):
    (path,) = run_tiny()
    child = Child(tmp_path, hold, record_lock(path))
    assert child.hear() == "held"
    path.unlink()
    seen = []

    def waiting(text, *args):
        seen.append(path.exists())
        child.tell("let go")

    monkeypatch.setattr(benchmarks.running.locks.log, "info", waiting)
    assert run_tiny() == [path]
    assert seen == [False]
    assert child.end() == 0
