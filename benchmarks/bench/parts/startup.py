"""How long a command takes to be there: help, a mistake, a check of tables."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

from benchmarks.bench.report import Options, Promise, Report
from benchmarks.running.environment import ROOT

QUICK = ("benchmarks --help", "benchmarks table --help", "benchmarks run nope", "dpq --help")
CHECK = "benchmarks table cifar10 --check"
# Runs a command, and prints its seconds and the KiB of its peak; a child of this process, which holds PyTorch, would be
# counted with the memory of its parent.
_APART = """import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(json.dumps([time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def measure(options: Options) -> Report:
    """Run each command several times, in processes of their own."""
    rounds = options.size(5, 1)
    found = {command: [_run(command) for _ in range(rounds)] for command in (*QUICK, CHECK)}
    seconds = {command: median(taken for taken, _ in runs) for command, runs in found.items()}
    memory = {command: max(peak for _, peak in runs) / 2**10 for command, runs in found.items()}
    rows = [
        {"command": f"python -m {command}", "seconds": f"{seconds[command]:.2f}", "MiB": f"{memory[command]:.0f}"}
        for command in found
    ]
    slowest, largest = max(seconds[command] for command in QUICK), max(memory[command] for command in QUICK)
    return Report(
        "startup",
        f"Commands from start to end: the median of {rounds}, and the largest peak of their memory.",
        {"Commands": rows},
        [
            Promise("seconds to help and to say a mistake", round(slowest, 3), 0.6, "at most"),
            Promise("memory of that, in MiB", round(largest, 1), 100, "at most"),
            Promise("seconds to check a table", round(seconds[CHECK], 3), 2.0, "at most"),
        ],
    )


def _run(command: str) -> tuple[float, float]:
    """Seconds and peak in KiB."""
    whole = [sys.executable, "-c", _APART, sys.executable, "-m", *command.split()]
    seconds, peak = json.loads(subprocess.check_output(whole, cwd=ROOT, stderr=subprocess.DEVNULL))
    return seconds, peak
