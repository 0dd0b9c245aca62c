import time

import numpy as np
import pytest
import torch

from benchmarks.bench.measure import Ratio, alternate, clock, extra_memory, ratio, threads

MEGABYTES = 64


def nothing(*_):
    return 0


def fill(_):
    return float(np.ones(MEGABYTES * 2**17).sum())


def fill_and_forget(_):
    fill(_)
    return 0


def test_ratios_are_taken_round_by_round():
    assert ratio([2, 6, 9], [1, 2, 1]) == Ratio(3, 2, 9)
    assert str(ratio([1.0], [2.0])) == "0.50 (0.50 to 0.50)"


def test_every_round_does_each_work_once_in_turn():
    calls = []
    seconds = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4  # one round is not timed
    assert [len(seconds[name]) for name in "ab"] == [3, 3]


def test_the_clock_counts_the_work():
    assert clock(lambda: time.sleep(0.02)) >= 0.02


def test_threads_hold_inside_alone():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_memory_is_that_of_the_work_without_its_input():
    value, megabytes = extra_memory(fill, (None,), nothing)
    assert value == 0 and megabytes < MEGABYTES / 2
    assert extra_memory(nothing, (), fill_and_forget)[1] == pytest.approx(MEGABYTES, rel=0.3)
