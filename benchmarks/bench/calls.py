"""Whole runs on generated images, called as a user calls them, each in a process of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from PIL import Image

from benchmarks.bench.measure import clock
from benchmarks.bench.setting import generated_split

COMMANDS = "benchmarks.__main__"  # which is imported where it is called, as are all commands with it
PHASES = ("train", "encode", "evaluate")
ALONE = ("--parallel", "1")  # one after the other, in the process that is called
DRAWN = 512  # images of a class; more take memory
WHOLE = "whole run"  # from the parsed command to the last record


@dataclass(frozen=True)
class Call:
    """A call of `run`, without `run` itself."""

    experiment: str
    options: tuple[str, ...]
    device: str
    data: Path | None  # folder of the images; None where the protocol needs none
    folder: Path  # of its output and cache, its own

    @property
    def output(self) -> Path:
        """Of the records."""
        return self.folder / "results"

    @property
    def arguments(self) -> list[str]:
        """As `python -m benchmarks` takes them."""
        root = [] if self.data is None else ["--data-root", str(self.data)]
        where = ["--device", self.device, "--weights", "none", "--output", str(self.output)]
        return ["run", self.experiment, *self.options, *root, *where]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the call is given beside those of this process."""
        return {"DPQ_CACHE": str(self.folder / "cache")}


def write_images(root: Path, classes: Sequence[str], each: Mapping[str, int]) -> None:
    """Write generated images of 32 x 32 pixels as `<root>/<split>/<class>/<number>.png`.

    Args:
        root: a folder, which is made.
        classes: names.
        each: of every split, how many images each class has there.
    """
    block = DRAWN * len(classes)
    needed = len(classes) * sum(each.values())
    drawn = generated_split(min(block, needed), len(classes)).images[:].permute(0, 2, 3, 1)
    # What is not drawn is drawn already, and moved to the side: no two are alike.
    left = (image for start in range(0, needed, block) for image in drawn.roll(start // block, 2).numpy())
    for split, count in each.items():
        for name in classes:
            (root / split / name).mkdir(parents=True)
        for number in range(count):
            for name in classes:  # the order of the generated images
                Image.fromarray(next(left)).save(root / split / name / f"{number:05}.png", compress_level=1)


def prepare(call: Call) -> Call:
    """Have everything imported and a GPU started, which is not what grows."""
    os.environ.update(call.environment)
    for name in ("benchmarks.running.call", "timm", "sklearn.cluster"):
        import_module(name)
    if call.device == "cuda":
        torch.zeros(1, device=call.device)
        torch.cuda.reset_peak_memory_stats()
    return call


def run(call: Call) -> dict[str, float]:
    """Carry a call out in this process: seconds of the whole and of its phases, and on a GPU its MiB at the peak."""
    seconds = {WHOLE: clock(lambda: quietly(call.arguments))} | seconds_of(call)
    peak = {"MiB of the GPU": torch.cuda.max_memory_allocated() / 2**20} if call.device == "cuda" else {}
    return seconds | peak


def seconds_of(call: Call) -> dict[str, float]:
    """Seconds of the phases, summed over the records of a call."""
    from benchmarks.records.store import read_record

    records = [read_record(path) for path in sorted(call.output.glob("*/runs/*.json"))]
    return {phase: sum(getattr(record.seconds, phase) for record in records) for phase in PHASES}


def quietly(arguments: Sequence[str]) -> None:
    """Give `python -m benchmarks` these arguments, and keep what it prints.

    Raises:
        RuntimeError: it failed, with the last line that it printed.
    """
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        status = import_module(COMMANDS).main(arguments)
    if status:
        raise RuntimeError(f"{' '.join(arguments)} failed: {last_line(said.getvalue())}")


def last_line(text: str) -> str:
    """The last line that is not empty, or nothing."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
