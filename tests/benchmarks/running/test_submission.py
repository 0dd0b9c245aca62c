"""Shards as jobs: what each is told, what a cluster is asked for, and what comes of it."""

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.running import jobs
from benchmarks.setting.options import without_submission
from tests.benchmarks.children import results

ROOT = Path(__file__).parents[3]
RUN = ["run", "digits", "--method", "pq", "dpq", "--bits", "8", "--limit", "400", "--epochs", "1", "--seeds", "0"]
SETTING = ["--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--device", "cpu"]


def arguments(output, *more):
    return [*RUN, *SETTING, "--output", str(output), *more]


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch):
    pytest.importorskip("submitit", reason="submitit, which the extra cluster brings, is not installed")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_jobs_of_this_machine_leave_what_one_process_leaves(tmp_path, capsys):
    assert main(arguments(tmp_path / "jobs", "--submit", "local", "--jobs", "2")) == 0
    assert "shard 1/2" in capsys.readouterr().out
    assert main(arguments(tmp_path / "whole")) == 0
    left = results(tmp_path / "whole")
    assert len(list(tmp_path.glob("whole/digits/runs/*.json"))) == 2
    for path in tmp_path.glob("jobs/digits/jobs/*"):
        path.unlink()
    assert results(tmp_path / "jobs") == left
    for folder, beside in (("jobs", [1, 1]), ("whole", [None, None])):
        records = [json.loads(path.read_text()) for path in tmp_path.glob(f"{folder}/digits/runs/*.json")]
        assert [record["environment"].get("beside") for record in records] == beside


def test_a_job_that_fails_is_named_with_its_log(tmp_path, capsys, monkeypatch):
    from submitit.helpers import CommandFunction

    broken = CommandFunction(["sh", "-c", "echo something broke >&2; exit 2", "1/1"])
    monkeypatch.setattr(jobs, "_command", lambda *_: broken)
    assert main(arguments(tmp_path, "--submit", "local", "--jobs", "1")) == 2
    said = capsys.readouterr().err
    assert "1 of 1 jobs failed; see " in said
    assert "something broke" in Path(said.split("see ")[1].strip()).read_text()


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A cluster that takes every job and keeps the script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho Submitted batch job 17\n')
    (folder / "srun").write_text("#!/bin/sh\n")
    for name in ("sbatch", "srun"):
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "script"


def test_slurm_gets_one_array_job_that_asks_for_what_was_said(sbatch, tmp_path, capsys):
    more = ["--submit", "slurm", "--jobs", "3", "--slurm", "partition=gpu", "gpus_per_node=1", "time=90"]
    assert main(arguments(tmp_path / "results", *more)) == 0
    script = sbatch.read_text()
    for line in ("array=0-2", "partition=gpu", "gpus-per-node=1", "time=90"):
        assert f"#SBATCH --{line}" in script
    said = capsys.readouterr().out
    assert [f"job 17_{index}: shard {index + 1}/3" in said for index in range(3)] == [True] * 3
    assert not (tmp_path / "results/digits/runs").exists()


def test_a_job_gets_all_options_but_those_of_jobs(tmp_path):
    given = arguments(tmp_path, "--submit", "slurm", "--slurm", "a=1", "b=2", "--jobs=3", "--force")
    expected = [sys.executable, "-m", "benchmarks", *arguments(tmp_path, "--force"), "--shard", "2/3"]
    assert jobs._command(without_submission(given), "2/3").command == expected


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--submit", "local"], "--submit needs --jobs N"),
        (["--submit", "local", "--jobs", "0"], "--submit needs --jobs N"),
        (["--submit", "local", "--jobs", "2", "--shard", "1/2"], "neither --shard"),
        (["--submit", "slurm", "--jobs", "2", "--slurm", "partition"], "KEY=VALUE"),
        (["--submit", "slurm", "--jobs", "2", "--slurm", "colour=red"], "colour"),
    ],
)
def test_what_cannot_be_submitted_is_refused(sbatch, tmp_path, capsys, more, says):
    assert main(arguments(tmp_path / "results", *more)) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_without_submitit_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(arguments(tmp_path, "--submit", "local", "--jobs", "2")) == 2
    assert "pip install -e '.[cluster]'" in capsys.readouterr().err
