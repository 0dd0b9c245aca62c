"""`regress`: small runs of every method against the committed reference, or a new reference."""

from __future__ import annotations

import argparse
import logging
import sys

from benchmarks.commands import Command
from benchmarks.setting.options import Option, shared

log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    """Check every suite that there are data for; 1 if something moved."""
    from benchmarks.running import regression as suites
    from benchmarks.running.environment import keep_freed_memory, resolve_device
    from benchmarks.running.loading import load_data
    from benchmarks.setting.methods import METHODS

    device = resolve_device(options.device)
    keep_freed_memory()
    for name in ("digits", "cifar10"):
        if name == "cifar10" and not (options.data_root and options.weights):
            log.info("cifar10: left out; give --data-root and --weights to include it")
            continue
        experiment = suites.load_suite(name, options.weights if name == "cifar10" else "none")
        dataset = load_data(experiment, options.data_root)
        if options.update:
            print(suites.update(experiment, dataset, device))
            continue
        try:
            print(f"{name}: {suites.check(experiment, dataset, device)} values of {len(METHODS.own)} methods hold")
        except suites.Moved as moved:
            print(f"regression:\n{moved}", file=sys.stderr)
            return 1
    return 0


COMMAND = Command(
    "regress",
    run,
    [Option("--update", "make the reference anew, from five seeds"), *shared("--weights", "--data-root", "--device")],
    "nothing is kept; the same command starts anew",
    "check every method on small data against the committed reference",
    "Run every method on digits, and on 500 images of CIFAR-10 where data and weights are given, and compare "
    "settings, loss terms and metrics with the committed reference. The exit status is 1 if one moved.",
)
