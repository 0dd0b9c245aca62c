"""The shards of a run as jobs: of a Slurm cluster, or of this machine. Needs the extra `cluster`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dpq.errors import InputError

CLUSTERS = ("slurm", "local")
HOURS = 24.0  # unless a job is given another limit


def add_submission(parser: Any) -> None:
    """The options of `run` that are of jobs; a job is given all others."""
    parser.add_argument(
        "--submit",
        choices=CLUSTERS,
        help="do nothing here, but submit the shards as an array job of Slurm, or as jobs of this machine",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="with --submit: the number of shards, one a job")
    parser.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="with --submit slurm: what each job asks for, as submitit names it, for instance partition=gpu "
        f"gpus_per_node=1 cpus_per_task=8 time=600 (minutes; default {HOURS * 60:.0f})",
    )


def submit(options: argparse.Namespace, folder: Path) -> None:
    """Submit the shards; on a cluster say which jobs they are, on this machine wait for them.

    Args:
        options: of `run`, with the arguments that they were parsed from.
        folder: where jobs keep their logs.

    Raises:
        InputError: submitit is not installed; the cluster refuses; a job of this machine failed.
    """
    executor = _executor(options, folder)
    commands = [_command(options.arguments, f"{index}/{options.jobs}") for index in range(1, options.jobs + 1)]
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
    try:
        import submitit
    except ImportError as error:
        raise InputError("--submit needs submitit; pip install -e '.[cluster]'") from error
    asked = dict(_asked(text) for text in options.slurm)
    try:
        executor = submitit.AutoExecutor(folder, cluster=options.submit)
        executor.update_parameters(name="dpq", timeout_min=int(HOURS * 60), **asked)
    except (NameError, RuntimeError) as error:
        raise InputError(f"{options.submit} cannot take jobs here: {error}") from error
    return executor


def _asked(text: str) -> tuple[str, int | str]:
    key, separator, value = text.partition("=")
    if not separator or not key or not value:
        raise InputError(f"--slurm takes KEY=VALUE, got {text!r}")
    return f"slurm_{key}", int(value) if value.isdecimal() else value


def _command(arguments: list[str], shard: str) -> Any:
    from submitit.helpers import CommandFunction

    parser = argparse.ArgumentParser(add_help=False)
    add_submission(parser)
    others = parser.parse_known_args(arguments)[1]
    return CommandFunction([sys.executable, "-m", "benchmarks", *others, "--shard", shard])
