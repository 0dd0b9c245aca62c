"""`run` in two processes of torch's launcher: the records of one process, by the same names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main

PATIENCE = 600  # seconds; no more than a safety net
ROOT = Path(__file__).parents[2]
SETTING = ["--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--device", "cpu"]
# "pq-dpq" without "dpq" trains DPQ on demand.
RUN = ["run", "digits", "--method", "pq-dpq", "--bits", "8", "--limit", "400", "--epochs", "1", "--seeds", "0"]
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
REACH = 0.02  # of mAP; losses differ in their last digits, and poor features of one epoch let that grow


def left(output):
    return {path.name: json.loads(path.read_text()) for path in output.glob("digits/runs/*.json")}


def test_two_processes_leave_the_records_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*RUN, *SETTING, "--output", str(one)]) == 0
    command = [*LAUNCHER, "-m", "benchmarks", *RUN, *SETTING, "--output", str(two)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    alone, both = left(one), left(two)
    assert both.keys() == alone.keys()
    assert len(both) == 1
    for name, record in both.items():
        assert record["environment"]["processes"] == 2
        assert "processes" not in alone[name]["environment"]
        for ours, expected in zip(record["lengths"], alone[name]["lengths"], strict=True):
            assert ours["map"] == pytest.approx(expected["map"], abs=REACH)
    assert done.stdout.count("exact search with float features") == 1  # the second process is silent
    assert done.stderr.count("epoch 1/1") == 1
    names = {path.relative_to(one) for path in one.rglob("*.safetensors")}
    assert {path.relative_to(two) for path in two.rglob("*.safetensors")} == names
