"""Where the time of a run goes, from start to figures, and how busy a whole experiment keeps the machine."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

import torch

from benchmarks.bench.calls import ALONE, COMMANDS, PHASES, WHOLE, Call, last_line, prepare, quietly, run, write_images
from benchmarks.bench.measure import clock, extra_memory
from benchmarks.bench.report import Options, Promise, Report, Row
from benchmarks.running.environment import ROOT
from dpq.protocols.cifar import CIFAR10

START = "import benchmarks.running.call"  # what a run imports before it begins
LIMITS = {"cpu": 900, "cuda": 120}  # seconds of a whole experiment, after which it is ended: a card is dear
BETWEEN = 0.5  # seconds from one look at the card to the next
NOT_MEASURED = "not measured"
DECODED, OPENED = "images decoded, once", "decoded images opened, later"
REST = "network, checkpoints, codes and record written"
STARTED, TABLES, FIGURES = "start: Python and imports", "tables", "figures"


def measure(options: Options) -> Report:
    """One run of DPQ, part by part, and a whole experiment."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        call = one_run(options, folder)
        start = median(_start() for _ in range(options.size(3, 1)))
        found, _ = extra_memory(prepare, (call,), timeline)
        parts = {STARTED: start, **found}
        whole = whole_experiment(options, call, folder / "whole")
        seconds, row = busy(whole, options.device)
    later = sum(taken for part, taken in parts.items() if part not in (DECODED, TABLES, FIGURES))
    everything = sum(parts.values()) - parts[OPENED]
    rows = [{"part": part, "seconds": f"{s:.2f}", "share": f"{s / everything:.1%}"} for part, s in parts.items()]
    promises = [Promise("seconds until the images of a later run are there", round(parts[OPENED], 3), 1.0, "at most")]
    if options.device.type == "cuda":
        promises.append(Promise("seconds of a later run of DPQ, alone, in all", round(later, 1), 30.0, "at most"))
    else:
        promises.append(Promise("seconds of all of digits", round(seconds, 1), 180.0, "at most"))
    return Report(
        "timeline",
        f"One run of DPQ on generated images, `{_written(call)}`, in processes of their own; and a whole experiment, "
        f"`{_written(whole)}`.",
        {"A run": rows, "An experiment": [row]},
        () if options.quick else promises,
        [
            "Shares are of a first run; a later one opens what the first has decoded, and has neither tables nor "
            "figures to write.",
            "How busy a card is, is the share of the time in which it computes anything, by its own count, looked at "
            f"every {BETWEEN:g} s; the processors' is their time over that of {os.cpu_count()} of them.",
        ],
    )


def one_run(options: Options, folder: Path) -> Call:
    """A run of DPQ, and its images: the whole setting on a GPU, a part of it on a CPU, next to nothing where quick."""
    device, data = options.device.type, folder / "cifar10-generated"
    asked = ("--method", "dpq", "--seeds", "0", *ALONE)
    if options.quick:
        write_images(data, CIFAR10.classes, {"train": 30, "query": 2, "database": 30})
        small = ("--protocol", "folder", "--backbone", "test_resnet", "--image-size", "32", "--epochs", "2")
        return Call("cifar10-cpu", (*asked, *small, "--bits", "8,16"), device, data, folder)
    write_images(data, CIFAR10.classes, CIFAR10.per_split)
    if device == "cuda":
        return Call("cifar10", asked, device, data, folder)
    return Call("cifar10-cpu", (*asked, "--limit", "2000", "--epochs", "2"), device, data, folder)


def whole_experiment(options: Options, call: Call, folder: Path) -> Call:
    """`cifar10` with one seed on a GPU, on the images of a call of it; digits on a CPU, a part of it where quick."""
    device = options.device.type
    if device == "cuda" and not options.quick:
        return Call("cifar10", ("--seeds", "0"), device, call.data, folder)
    little = ("--limit", "300", "--epochs", "1", "--method", "pq", "--seeds", "0") if options.quick else ()
    return Call("digits", little, device, None, folder)


def timeline(call: Call) -> dict[str, float]:
    """Seconds of each part of a run in this process, of what is written from its record, and of reading its images."""
    from benchmarks.running.loading import load_data
    from benchmarks.setting.overrides import experiment_of

    experiment = experiment_of(import_module(COMMANDS).make_parser().parse_args(call.arguments))
    decoded, opened = (clock(lambda: load_data(experiment, call.data)) for _ in range(2))
    found = run(call)
    phases = {phase: found[phase] for phase in PHASES}
    where = [experiment.name, "--output", str(call.output)]
    return {
        DECODED: decoded,
        OPENED: opened,
        **phases,
        REST: max(0.0, found[WHOLE] - opened - sum(phases.values())),
        TABLES: clock(lambda: quietly(["table", *where])),
        FIGURES: clock(lambda: quietly(["figures", *where])),
    }


def busy(call: Call, device: torch.device) -> tuple[float, Row]:
    """Seconds of a call in a process of its own, and a row: how many records it made and how busy it kept the machine.

    What takes longer than `LIMITS` allow is interrupted.

    Raises:
        RuntimeError: it failed, with the last line that it printed.
    """
    call.folder.mkdir(parents=True, exist_ok=True)
    printed, used, before = call.folder / "printed.txt", list[float](), _processors()
    with printed.open("wb") as stream:
        started = time.perf_counter()
        environment = os.environ | call.environment
        command = [sys.executable, "-m", "benchmarks", *call.arguments]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream) as process:
            try:
                while process.poll() is None and time.perf_counter() - started < LIMITS[device.type]:
                    look = card_use(device)
                    used += [] if look is None else [look]
                    _wait(process, BETWEEN)
            finally:
                ended = process.poll() is None
                if ended:
                    process.send_signal(signal.SIGINT)
                    _wait(process, 10)
                    process.kill()
        seconds = time.perf_counter() - started
    if process.returncode and not ended:
        text = printed.read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{' '.join(command)} failed: {last_line(text)}")
    return seconds, {
        "experiment": call.experiment,
        "seconds": f"{seconds:.1f}" + (" (ended then)" if ended else ""),
        "records": len([*call.output.glob("*/runs/*.json")]),
        "card busy": f"{mean(used):.0f} %" if used else NOT_MEASURED,
        "processors busy": f"{100 * (_processors() - before) / seconds / (os.cpu_count() or 1):.0f} %",
    }


def card_use(device: torch.device) -> float | None:
    """Percent of the last moment in which the card computed; None where there is none, or nothing that tells."""
    if device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # whatever nvidia-ml-py lacks, if it is there at all, the driver's own program may tell
        return _asked()


def _asked() -> float | None:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return float(told.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _processors() -> float:
    """Processor seconds of all processes that this one has started and that have ended."""
    told = resource.getrusage(resource.RUSAGE_CHILDREN)
    return told.ru_utime + told.ru_stime


def _start() -> float:
    return clock(lambda: subprocess.run([sys.executable, "-c", START], cwd=ROOT, check=True))


def _written(call: Call) -> str:
    """The command, without the folders."""
    return " ".join(["python -m benchmarks run", call.experiment, *call.options])
