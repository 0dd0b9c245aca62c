"""The shards of a call as jobs: of a Slurm cluster, or of this machine. Jobs need the extra `cluster`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.setting.options import HOURS, without_submission
from dpq.errors import InputError


def submit(options: argparse.Namespace, folder: Path) -> None:
    """Submit the shards; on a cluster say which jobs they are, on this machine wait for them.

    Args:
        options: of `run`.
        folder: where jobs keep their logs.

    Raises:
        InputError: submitit is not installed; the cluster refuses; a job of this machine failed.
    """
    executor = _executor(options, folder)
    arguments = without_submission(options.arguments)
    # Jobs of one machine share it, and their records say so.
    told = os.environ | {"DPQ_BESIDE": str(options.jobs - 1)} if options.submit == "local" else None
    commands = [_command(arguments, f"{index}/{options.jobs}", told) for index in range(1, options.jobs + 1)]
    try:
        with executor.batch():
            jobs = [executor.submit(command) for command in commands]
    except Exception as error:  # whatever stands between here and the cluster
        raise InputError(f"{options.submit} did not take the jobs: {error}") from error
    for command, job in zip(commands, jobs, strict=True):
        print(f"job {job.job_id}: shard {command.command[-1]}, log {job.paths.stderr}")
    if options.submit == "slurm":
        print("when they have ended, the same command without --submit says what there is, and does what is missing")
        return
    failed = [job for job in jobs if job.exception() is not None]
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} jobs failed; see {failed[0].paths.stderr}")


def _executor(options: argparse.Namespace, folder: Path) -> Any:
    if options.jobs is None or options.jobs < 1 or options.shard is not None or options.dry_run:
        raise InputError("--submit needs --jobs N, a positive number, and goes with neither --shard nor --dry-run")
    if options.submit == "local" and (options.parallel or 1) > 1:
        raise InputError("--submit local has its jobs go on at once; leave out --parallel, or take it without --submit")
    try:
        import submitit
    except ImportError as error:
        raise InputError("--submit needs submitit; pip install -e '.[cluster]'") from error
    asked: dict[str, int | str] = {}
    for text in options.slurm:
        key, _, value = text.partition("=")
        if not key or not value:
            raise InputError(f"--slurm takes KEY=VALUE, got {text!r}")
        asked[f"slurm_{key}"] = int(value) if value.isdecimal() else value
    try:
        executor = submitit.AutoExecutor(folder, cluster=options.submit)
        executor.update_parameters(name="dpq", timeout_min=int(HOURS * 60), **asked)
    except (NameError, RuntimeError) as error:
        raise InputError(f"{options.submit} cannot take jobs here: {error}") from error
    return executor


def _command(arguments: Sequence[str], shard: str, environment: dict[str, str] | None = None) -> Any:
    from submitit.helpers import CommandFunction

    return CommandFunction([sys.executable, "-m", "benchmarks", *arguments, "--shard", shard], env=environment)
