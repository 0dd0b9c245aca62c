"""Fresh processes, where nothing of an earlier run is left: what repeats to the last bit, and what does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = ["run", "digits", "--method", "dpq", "dqn", "--bits", "8", "--limit", "400", "--epochs", "2", "--seeds", "0"]
OF_THE_RUN = ("created", "seconds", "images_per_second", "peak_memory_mb")
# Between 1 and 2 threads; after two epochs features are poor and mAP moves most.
REACH = 0.1


def records(output, threads):
    quiet = {"OMP_WAIT_POLICY": "PASSIVE"}  # where cores are taken, threads that spin wait for each other
    environment = os.environ | quiet | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks", *RUN, "--output", str(output)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    made = {path.stem: json.loads(path.read_text()) for path in output.glob("digits/runs/*.json")}
    assert len(made) == 2
    return made


def test_fresh_processes_repeat_to_the_last_bit_and_another_number_of_threads_stays_near(tmp_path):
    first, again, other = (records(tmp_path / str(n), threads) for n, threads in enumerate((1, 1, 2)))
    for identity, record in first.items():
        kept = {key: value for key, value in record.items() if key not in OF_THE_RUN}
        assert kept == {key: value for key, value in again[identity].items() if key not in OF_THE_RUN}
        assert other[identity]["environment"]["threads"] == 2
        for one, two in zip(record["lengths"], other[identity]["lengths"], strict=True):
            assert two["map"] == pytest.approx(one["map"], abs=REACH)
