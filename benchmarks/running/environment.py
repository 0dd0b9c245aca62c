"""Where a number was made: versions, hardware, commit."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dpq.errors import InputError
from dpq.files.checkpoint import with_environment
from dpq.learning.distributed import processes

SOURCES = ("dpq", "baselines", "benchmarks")
ROOT = Path(__file__).parents[2]


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, processor and commit, as they go into a record."""
    import numpy
    import PIL
    import timm

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
        "scikit_learn": version("scikit-learn"),
        "pillow": PIL.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **({"processes": processes()} if processes() > 1 else {}),
        **({"beside": beside} if (beside := runs_beside()) else {}),
        "platform": f"{platform.system()} {platform.machine()}",
        "commit": loaded_commit(),
    }


def runs_beside() -> int:
    """How many other runs share this machine, as whoever started them says in DPQ_BESIDE; 0 where nobody says."""
    told = os.environ.get("DPQ_BESIDE", "")
    return int(told) if told.isdecimal() else 0


def with_parts(environment: Mapping[str, Any], parts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The environment of a record, with those of earlier parts that were elsewhere; "unknown" stands for None."""
    places = with_environment(parts, environment)
    earlier = ["unknown" if part is None else dict(part) for part in places if part != environment]
    return {**environment, **({"earlier": earlier} if earlier else {})}


def processor() -> str:
    """Model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """Commit of the source tree, with `-dirty` if sources differ from it; "unknown" outside a checkout.

    A checkout without git history can name its commit in the environment variable DPQ_COMMIT. So can one inside another
    repository, whose commits are not this project's.
    """
    try:
        own = Path(_git("rev-parse", "--show-toplevel")).samefile(ROOT)
        there = [name for name in SOURCES if (ROOT / name).exists()]
        if own and set(_git("ls-tree", "--name-only", "HEAD", "--", *there).splitlines()) == set(there):
            changed = _git("status", "--porcelain", "--untracked-files=normal", "--", *there)
            return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    return os.environ.get("DPQ_COMMIT", "").strip() or "unknown"


loaded_commit = cache(commit)  # asked for when sources are loaded: they may change while a process runs


def _git(*arguments: str) -> str:
    # Git's own variables, as hooks have them, may name another repository.
    named = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
    environment = {key: value for key, value in os.environ.items() if key not in named}
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory so far: of the GPU where one is used, else the resident set of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def resolve_device(name: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        InputError: a device that is unknown or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {name!r}; choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def check_writable(folder: Path, option: str = "--output") -> None:
    """Refuse a folder that cannot be written, before anything slow; it is made.

    Raises:
        InputError: names the folder and the option to choose another with.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}); choose another {option}") from error


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning every large tensor to the system.

    Training on the CPU frees and takes the same activations every step; without this, page faults more than
    halve its speed. Does nothing where there is no glibc.
    """
    import ctypes

    trim_threshold, top_pad, mmap_max = -1, -2, -4
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**28)
