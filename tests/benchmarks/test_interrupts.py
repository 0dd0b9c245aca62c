"""Ctrl-C ends a command wherever it is, with one line and no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import benchmarks.running.evaluation
from benchmarks.__main__ import COMMANDS, make_parser
from dpq.cli import interrupts
from dpq.cli.interrupts import interruption
from dpq.learning.training import Trainer
from dpq.protocols.store import decoding
from dpq.ranking.evaluate import in_threads
from tests.benchmarks.children import Child, command, hear, say

ROOT = Path(__file__).parents[2]
FOREVER = 3600  # seconds; more than any test waits


def arguments(output, *more):
    return ["run", "tiny", "--method", "dpq", "--limit", "100", "--output", str(output), *more]


def saying_steps():
    step = Trainer.step

    def steps(*args):
        say("step")
        return step(*args)

    Trainer.step = steps


def native_steps():
    """A step whose native code takes minutes."""
    matrix = torch.rand(4000, 4000, generator=torch.Generator().manual_seed(0))

    def steps(*_):
        say("native")
        torch.linalg.eig(matrix)

    Trainer.step = steps


def endless_kmeans():
    from sklearn.cluster import KMeans

    fit = KMeans.fit

    def fits(self, points):
        say("k-means")
        return fit(self.set_params(n_init=10**9), points)

    KMeans.fit = fits


def endless_threads():
    """An evaluation that waits for its threads."""

    def evaluate_codes(*_, **__):
        say("evaluation")
        in_threads(time.sleep, [FOREVER], "sleeping")

    benchmarks.running.evaluation.evaluate_codes = evaluate_codes


STAGES = {
    "training": (saying_steps, "--epochs", "1000000"),
    "native code": (native_steps,),
    "k-means": (endless_kmeans,),
    "evaluation": (endless_threads,),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_ends_with_one_line_that_says_how_to_go_on(configs, tmp_path, stage, number):
    hook, *more = STAGES[stage]
    child = Child(tmp_path, command, arguments(tmp_path / "results", *more), hook)
    child.hear()
    os.kill(child.pid, number)
    assert child.end() == 128 + number
    assert child.err.count("interrupted") == 1
    assert child.err.splitlines()[-1] == f"interrupted: {COMMANDS['run'].advice}"
    assert "Traceback" not in child.err


def test_every_command_has_advice():
    commands = next(a for a in make_parser()._actions if a.dest == "command").choices
    assert set(COMMANDS) == set(commands)
    assert all(command.advice for command in COMMANDS.values())


def test_ctrl_c_while_modules_are_imported(tmp_path):
    """A fresh process, interrupted as soon as one of the slow modules is there."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "benchmarks", "table", "digits", "--output", str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in process.stderr:
        if line.endswith(" numpy\n"):
            break
    process.send_signal(signal.SIGINT)
    said = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
    assert (process.wait(), said) == (130, [f"interrupted: {COMMANDS['table'].advice}"])


def quietly(work, *args):
    """As `main` does it."""
    interruption.install()
    try:
        with interruption.interruptible("advice"):
            work(*args)
    except KeyboardInterrupt:
        return interruption.say()


def heard(work):
    """As `quietly`, also where tests are run by what ignores that a terminal is closed."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    return quietly(work)


def decode(root):
    """Decode with two workers that never finish."""

    def stuck(*_):
        say("decoding")
        time.sleep(FOREVER)

    decoding.decode_file = stuck
    list(decoding.decode_files(root, ["a", "b", "c", "d"], 8, 2))


@pytest.mark.parametrize("terminal", [True, False])
def test_workers_end_with_the_command(configs, tmp_path, terminal):
    """A terminal signals all processes of a command, `kill` one."""
    child = Child(tmp_path, quietly, decode, tmp_path)
    child.hear()
    (os.killpg if terminal else os.kill)(child.pid, signal.SIGINT)
    assert child.end() == 130
    assert child.err == "interrupted: advice\n"


def decode_beside_a_library(root):
    """One that has work of its own to do in every fork, before ours."""

    def tidy():
        say("forked")
        time.sleep(0.5)

    os.register_at_fork(after_in_child=tidy)
    return quietly(decode, root)


def test_a_worker_that_is_just_being_forked_ends_too(configs, tmp_path):
    child = Child(tmp_path, decode_beside_a_library, tmp_path)
    assert child.hear() == "forked"
    os.killpg(child.pid, signal.SIGINT)
    assert child.end() == 130
    assert child.err == "interrupted: advice\n"


def fail_after_the_signal():
    try:
        say("ready")
        time.sleep(FOREVER)
    finally:
        raise RuntimeError("a worker ended unexpectedly")


def test_a_failure_of_tidying_up_is_not_reported(configs, tmp_path):
    child = Child(tmp_path, quietly, fail_after_the_signal)
    child.hear()
    os.kill(child.pid, signal.SIGINT)
    assert child.end() == 130
    assert child.err == "interrupted: advice\n"


def slow_to_tidy_up():
    interrupts._GRACE = FOREVER
    try:
        say("ready")
        time.sleep(FOREVER)
    finally:
        say("tidying up")
        hear()
        say("tidied up")


def test_pressing_again_does_not_cut_tidying_up_short(configs, tmp_path):
    child = Child(tmp_path, quietly, slow_to_tidy_up)
    child.hear()
    os.kill(child.pid, signal.SIGINT)
    child.hear()
    for _ in range(20):
        os.kill(child.pid, signal.SIGINT)
    child.tell("go on")
    assert child.hear() == "tidied up"
    assert child.end() == 130
    assert child.err == "interrupted: advice\n"


def test_a_closed_terminal_ends_a_command(configs, tmp_path):
    child = Child(tmp_path, heard, fail_after_the_signal)
    child.hear()
    os.kill(child.pid, signal.SIGHUP)
    assert child.end() == 128 + signal.SIGHUP
    assert child.err == "interrupted: advice\n"


def ignoring(number):
    signal.signal(number, signal.SIG_IGN)  # as nohup does
    interruption.install()
    os.kill(os.getpid(), number)
    worker = os.fork()
    if not worker:
        os.kill(os.getpid(), number)
        os._exit(0)
    return os.waitpid(worker, 0)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_the_caller_had_ignored_stays_ignored(configs, tmp_path, number):
    child = Child(tmp_path, ignoring, number)
    assert (child.end(), child.err) == (0, "")
