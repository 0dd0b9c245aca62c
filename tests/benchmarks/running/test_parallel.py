"""Runs beside each other: the records of runs alone, and what becomes of one that ends before its time."""

import argparse
import os
import re
import signal
import time
from contextlib import ExitStack, suppress

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.records.store import read_record
from benchmarks.running import parallel
from benchmarks.running.locks import locked
from benchmarks.running.parallel import carry_out_beside, how_many, memory_needed
from benchmarks.running.plan import most_at_once, pieces, plan
from benchmarks.setting.building import read_ingredients
from benchmarks.setting.experiment import load_experiment
from dpq import InputError
from dpq.protocols import load_protocol
from tests.benchmarks.children import Child, results
from tests.benchmarks.test_interrupts import FOREVER, quietly

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
OPTIONS = argparse.Namespace(force=False, data_root=None, allow_missing=0, strip_prefix=None, workers=None)
PATIENCE = 600  # seconds; no more than a safety net


def arguments(output, *more):
    few = ["--limit", "100", "--epochs", "2", "--seeds", "0", "--method", "dqn", "pq-dpq", "dpq"]
    return ["run", "tiny", *few, "--output", str(output), *more]


def planned(folder, *seeds, methods=("dpq",)):
    experiment = load_experiment("tiny")
    read = read_ingredients(experiment, load_protocol("digits", None))
    return plan(experiment, read, methods=methods, seeds=seeds, variant="paper", output=folder)


@pytest.fixture
def threads():
    """Sets how many threads there are to divide."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def holders(output):
    """The processes that have held a lock."""
    found = [path.read_text() for path in output.glob("*/.locks/*.holder") if "record" not in path.name]
    return {int(re.match(r"process (\d+) on", text)[1]) for text in found}


def test_records_are_those_of_runs_alone(configs, tmp_path, threads, capsys, caplog):
    caplog.set_level("INFO")
    threads(3)
    assert main(arguments(tmp_path / "parallel", "--parallel", "2")) == 0
    said = capsys.readouterr().out
    records = [read_record(path).raw for path in sorted(tmp_path.glob("parallel/tiny/runs/*.json"))]
    threads(1)
    assert main(arguments(tmp_path / "alone")) == 0
    assert results(tmp_path / "parallel") == results(tmp_path / "alone")
    assert len(records) == 5
    for record in records:
        assert (record["environment"]["beside"], record["environment"]["threads"]) == (1, 1)
        assert "earlier" not in record["environment"]
        assert f"\n{record['id']} on digits-limit100\n" in f"\n{said}"  # its summary
        assert "--parallel" not in record["arguments"]
        if record["method"] in ("dpq", "dqn"):
            assert f"{record['id']}: epoch 2/2: " in caplog.text
    assert said.endswith(capsys.readouterr().out[-200:])  # the overview
    workers = holders(tmp_path / "parallel")
    assert len(workers) == 2
    assert os.getpid() not in workers


def troubled(run, device, force):
    """Stands for a run that is killed, refused, or goes well, by its seed."""
    if run.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if run.seed == 1:
        raise InputError(f"the loss\nbecame nan of {len(run.ingredients.dataset.train)}", "epochs")


def faulty(run, device, force):
    raise KeyError("a fault of ours")


def test_what_cannot_be_done_is_said_in_a_line_and_the_others_go_on(configs, tmp_path, caplog):
    caplog.set_level("INFO")
    killed, refused, *good = planned(tmp_path, 0, 1, 2, 3)
    done, before = [], dict(os.environ)
    with pytest.raises(InputError, match=r"^2 of 4 runs were not done"), ExitStack() as held:
        held.enter_context(locked(good[0].lock))  # as another process on this output

        def finished(run):
            done.append(run)
            held.close()

        carry_out_beside([killed, refused, *good], 2, CPU, OPTIONS, troubled, finished)
    assert done == good[::-1]
    lines = caplog.messages
    assert f"{killed.identity}: its process was killed (SIGKILL), perhaps for want of memory" in lines
    reason = "error: the loss became nan of 300; on the command line: --epochs N"
    assert f"{refused.identity}: {reason}" in lines
    assert any(f"process {os.getpid()} on " in line and "going on with what else there is" in line for line in lines)
    assert dict(os.environ) == before


def test_a_fault_of_ours_is_shown_whole(configs, tmp_path, caplog):
    caplog.set_level("INFO")
    (run,) = planned(tmp_path, 0)
    with pytest.raises(RuntimeError, match="1 of 1 runs"):
        carry_out_beside([run], 1, CPU, OPTIONS, faulty, print)
    assert f"{run.identity}: KeyError: 'a fault of ours'" in caplog.messages
    assert f"{run.identity}: its process has failed" in caplog.messages


@pytest.mark.parametrize(
    ("status", "how", "fault"),
    [(-9, "was killed (SIGKILL)", False), (143, "was killed (SIGTERM)", False), (1, "has failed", True)],
)
def test_how_a_process_ended_is_told(configs, tmp_path, caplog, status, how, fault):
    (run,) = planned(tmp_path, 0)
    assert parallel._say_ended(run, status) == fault
    assert caplog.messages[0].startswith(f"{run.identity}: its process {how}")


def met(run, device, force):
    """Stands for a length that is done when another one of the same features goes on beside it."""
    if not run.stands_alone:
        run.feature_checkpoint.parent.mkdir(parents=True)
        run.feature_checkpoint.touch()
        print("features are there")
    (run.output / f"{os.getpid()}.pid").touch()
    wait_until(lambda: len(list(run.output.glob("*.pid"))) == 2)


def test_lengths_go_on_beside_each_other_once_their_features_are_there(configs, tmp_path, caplog):
    caplog.set_level("INFO")
    runs = planned(tmp_path, 0, methods=("dqn",))
    assert (len(pieces(runs)), most_at_once(runs)) == (1, 2)
    assert [len(run.locks) for run in runs] == [2, 2]
    done = []
    carry_out_beside(runs, 2, CPU, OPTIONS, met, done.append)
    assert set(done) == set(runs)
    assert [len(run.locks) for run in runs] == [1, 1]
    assert runs[0].locks != runs[1].locks


def endless(run, device, force):
    (run.output / f"{os.getpid()}.pid").touch()
    time.sleep(FOREVER)


def two_endless(folder):
    carry_out_beside(planned(folder, 0, 1), 2, CPU, OPTIONS, endless, print)


def wait_until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("send", "number", "status"),
    [(os.killpg, signal.SIGINT, 130), (os.kill, signal.SIGKILL, -9)],
    ids=["Ctrl-C", "SIGKILL"],
)
def test_all_end_with_the_command(configs, tmp_path, send, number, status):
    child = Child(tmp_path, quietly, two_endless, tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    send(child.pid, number)
    assert child.end() == status
    if status > 0:
        assert child.err.splitlines()[-1] == "interrupted: advice"
        assert child.err.count("interrupted") == 1
        assert "Traceback" not in child.err

    def gone(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
        return True

    wait_until(lambda: all(map(gone, workers)))


def test_the_plan_says_how_many_go_on_at_once_and_divides_no_time(configs, tmp_path, capsys):
    assert main(arguments(tmp_path / "results", "--parallel", "2", "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "2 runs at once: the cores are divided, so that the sum of trainings stays what it is" in said
    assert not (tmp_path / "results").exists()


def test_the_longest_piece_comes_first(configs, tmp_path):
    runs = planned(tmp_path, 0, methods=("pq", "dpq", "dqn"))
    assert [runs[0].lock, runs[1].lock] == [runs[0].lock] * 2
    by_lock = {run.lock: run.method for run in runs}
    assert [by_lock[lock] for lock in pieces(runs)] == ["dqn", "dpq", "pq"]


def test_how_many_go_on_at_once(configs, tmp_path, monkeypatch, caplog):
    runs = planned(tmp_path, 0, 1, 2, 3)
    need = memory_needed(runs[0].experiment)
    monkeypatch.delenv("DPQ_BESIDE", raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    free = 10 * need
    assert [how_many(asked, CPU, runs[:1]) for asked in (None, 1, 3)] == [1, 1, 3]
    assert [how_many(asked, CUDA, runs) for asked in (None, 1, 3, 9)] == [2, 1, 3, 4]
    assert [how_many(asked, CUDA, runs[:1]) for asked in (None, 3)] == [1, 1]
    assert how_many(None, CUDA, []) == 1
    assert not caplog.messages
    free = 1.5 * need
    assert how_many(None, CUDA, runs) == 1
    assert how_many(3, CUDA, runs) == 3
    assert caplog.messages == ["the memory of the GPU may be too small for 3 runs at once; about 1 fit"]
    free = 10 * need
    monkeypatch.setenv("DPQ_BESIDE", "1")
    assert how_many(None, CUDA, runs) == 1


def test_a_run_of_the_full_setting_needs_what_was_measured():
    assert memory_needed(load_experiment("cifar10")) == parallel._MEMORY


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--parallel", "0"], "expected a positive number, got '0'"),
        (["--parallel", "many"], "expected a positive number"),
        (["--parallel", "2", "--submit", "local", "--jobs", "2"], "leave out --parallel"),
    ],
)
def test_what_cannot_go_on_at_once_is_refused(configs, tmp_path, capsys, more, says):
    assert main(arguments(tmp_path, *more)) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_processes_of_one_training_are_not_multiplied(configs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dpq.learning.distributed.start", lambda device: True)
    assert main(arguments(tmp_path, "--parallel", "2")) == 2
    assert "leave out --parallel" in capsys.readouterr().err
