"""A killed run, given again, ends with the numbers of one that was left alone, to the last bit."""

import os
import random
import signal

import pytest

import benchmarks.running.evaluation
import benchmarks.running.runner
import dpq.learning.on_embeddings
from dpq.learning.deep import AlternatingMethod
from dpq.learning.training import Trainer
from tests.benchmarks.children import Child, command, results, say

KILLS = {"training": 2, "encoding": 1, "evaluation": 1, "writing": 3}  # of each of three methods: 21


def arguments(method, output):
    few = ["--limit", "100", "--epochs", "3", "--seeds", "0"]
    return ["run", "tiny", "--method", method, *few, "--output", str(output)]


def watch(fatal):
    """Say every event of a run before it happens, and be killed before the event of that number."""
    count = 0

    def happens(name, on_death=lambda: None):
        nonlocal count
        if count == fatal:
            on_death()
            os.kill(os.getpid(), signal.SIGKILL)
        say(name)
        count += 1

    def watched(owner, attribute, name):
        original = getattr(owner, attribute)

        def wrapper(*args, **kwargs):
            happens(name)
            return original(*args, **kwargs)

        setattr(owner, attribute, wrapper)

    def fsync(handle, original=os.fsync):
        happens("write", lambda: os.ftruncate(handle, os.fstat(handle).st_size // 2))  # torn
        original(handle)

    watched(Trainer, "step", "step")
    watched(AlternatingMethod, "_estimate", "step")
    watched(dpq.learning.on_embeddings, "to_input", "embed")
    watched(benchmarks.running.evaluation, "evaluate_codes", "evaluate")
    watched(benchmarks.running.runner, "evaluate_embeddings", "evaluate")
    watched(os, "replace", "write")
    os.fsync = fsync


def events(child):
    """What it says until it ends."""
    heard = []
    with pytest.raises(EOFError):
        while True:
            heard.append(child.hear())
    return heard


def choose(heard, generator):
    """Numbers of random events, some of every phase."""
    training = max(number for number, event in enumerate(heard) if event == "step")
    phases = {phase: [] for phase in KILLS}
    for number, event in enumerate(heard):
        if event in ("step", "embed"):
            phases["training" if number <= training else "encoding"].append(number)
        else:
            phases["evaluation" if event == "evaluate" else "writing"].append(number)
    return [number for phase, count in KILLS.items() for number in generator.sample(phases[phase], count)]


@pytest.mark.parametrize("method", ["dpq", "dqn", "dtq"])
def test_a_run_killed_at_any_point_goes_on_to_the_same_bits(configs, tmp_path, method):
    child = Child(tmp_path, command, arguments(method, tmp_path / "whole"), watch, None)
    heard = events(child)
    assert child.end() == 0
    whole = results(tmp_path / "whole")
    assert len(whole) > 3
    for fatal in choose(heard, random.Random(method)):
        output = tmp_path / str(fatal)
        killed = Child(tmp_path, command, arguments(method, output), watch, fatal)
        assert events(killed) == heard[:fatal]
        assert killed.end() == -signal.SIGKILL
        again = Child(tmp_path, command, arguments(method, output))
        assert again.end() == 0, again.err
        assert results(output) == whole, f"killed before {heard[fatal]}, event {fatal}"
