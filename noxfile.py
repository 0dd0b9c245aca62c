"""Every way to run the project: `nox -l` lists the sessions.

Environments are kept and reused, so a second call starts within seconds; after a change of dependencies, give
`--reuse-venv=no` once.
"""

from __future__ import annotations

import argparse
import os
import runpy
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]

# Tests whose results depend on other packages' versions; start times and the wording of Pillow are for newer ones.
LOWEST = (
    *(f"tests/dpq/{room}" for room in ("codes", "files", "inputs", "learning", "method", "ranking", "search")),
    *(f"tests/benchmarks/{room}" for room in ("records", "figures", "setting")),
    "tests/baselines",
)

# Versions that the committed results were made with.
CONSTRAINTS = ("-c", "constraints.txt")


def _install(session: nox.Session, extra: str) -> None:
    session.install("-e", f".[{extra}]", *CONSTRAINTS)


def _has_gpu(session: nox.Session) -> bool:
    probe = "import torch; print(torch.cuda.is_available())"
    said = session.run("python", "-c", probe, silent=True, log=False)  # with warnings of torch, if it has any
    return str(said).split()[-1:] == ["True"]


def _take(arguments: list[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, None where it is not given; and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(option, dest="value", metavar="VALUE")
    given, others = parser.parse_known_args(arguments)
    return given.value, others


def _reproduce(session: nox.Session, experiment: str, arguments: list[str]) -> None:
    """Run, figures and table of one experiment, which ends with what a person looks at."""
    benchmarks = ("python", "-m", "benchmarks")
    session.run(*benchmarks, "run", experiment, *arguments)  # which refuses abbreviations, that are not looked for here
    if {"--dry-run", "--help", "-h"} & {*arguments} or _take(arguments, "--submit")[0] == "slurm":
        return  # there are no new records yet
    output, _ = _take(arguments, "--output")
    if _take(arguments, "--protocol")[0] == "folder":
        experiment = "own"  # has the results of one's own images, whatever setting they were made in
    for command in ("figures", "table"):
        session.run(*benchmarks, command, experiment, *(["--output", output] if output else []))


@nox.session(name="reproduce-digits")
def reproduce_digits(session: nox.Session) -> None:
    """Train, evaluate and tabulate on the bundled digits: about three minutes, nothing to download."""
    _install(session, "benchmarks,figures")
    _reproduce(session, "digits", list(session.posargs))


def _reproduce_on_this_device(session: nox.Session, experiment: str) -> None:
    """As `_reproduce`, in the setting of that name with a GPU, and without one in that of `<name>-cpu`."""
    _install(session, "benchmarks,figures")
    named, arguments = _take(session.posargs, "--experiment")
    if named is None:
        named = experiment if _has_gpu(session) else f"{experiment}-cpu"
        session.log(f"setting {named}, which suits this device; -- --experiment NAME takes another")
    _reproduce(session, named, arguments)


@nox.session(name="reproduce-cifar10")
def reproduce_cifar10(session: nox.Session) -> None:
    """Reproduce the CIFAR-10 table; what follows `--` goes to `python -m benchmarks run`."""
    _reproduce_on_this_device(session, "cifar10")


@nox.session(name="reproduce-cifar100")
def reproduce_cifar100(session: nox.Session) -> None:
    """Make the CIFAR-100 table; `-- --experiment cifar100-unseen` searches classes that training has not seen."""
    _reproduce_on_this_device(session, "cifar100")


def _reproduce_own_images(session: nox.Session, experiment: str) -> None:
    """As `_reproduce`, for data sets that cannot be shipped; without a data root, say what to get."""
    _install(session, "benchmarks,figures")
    named, arguments = _take(session.posargs, "--experiment")
    experiment = named or experiment
    data_root = _take(arguments, "--data-root")[0] or os.environ.get("DPQ_DATA_ROOT")
    if not data_root and not {"--help", "-h"} & {*arguments}:
        session.run("python", "-m", "benchmarks", "check-data", experiment, success_codes=[0, 2])
        session.error(f"no images: nox -s {session.name} -- --data-root DIR")
    _reproduce(session, experiment, arguments)


@nox.session(name="reproduce-nuswide")
def reproduce_nuswide(session: nox.Session) -> None:
    """Reproduce the NUS-WIDE table on your copy of the images (`-- --data-root DIR`)."""
    _reproduce_own_images(session, "nuswide21")


@nox.session(name="reproduce-imagenet")
def reproduce_imagenet(session: nox.Session) -> None:
    """Reproduce the ImageNet-100 table on your copy; `-- --experiment imagenet100-hashnet` takes HashNet's draw."""
    _reproduce_own_images(session, "imagenet100")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, in a process for each core; what follows `--` goes to pytest, `-n 0` takes one process."""
    _install(session, "tests")
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # threads beyond the cores only wait
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs, env=one_thread)


@nox.session
def lowest(session: nox.Session) -> None:
    """Reproduce digits, small, and test, with the lowest declared versions; what follows `--` goes to pytest."""
    session.install("uv", *CONSTRAINTS)
    session.run("python", "-m", "uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[tests]")
    output = session.create_tmp()
    small = ("--epochs", "1", "--bits", "8,16", "--seeds", "0", "--limit", "600", "--force", "--output", output)
    _reproduce(session, "digits", list(small))
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    session.run("pytest", "-n", "auto", *(session.posargs or LOWEST), env=one_thread)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give every reader of files 10,000 inputs, or DPQ_FUZZ of them; what follows `--` goes to pytest."""
    _install(session, "tests")
    many = {"DPQ_FUZZ": os.environ.get("DPQ_FUZZ", "10000")}
    session.run("pytest", "tests/fuzz", *session.posargs, env=many)


@nox.session
def regression(session: nox.Session) -> None:
    """Check every method on small data against the reference; what follows `--` goes to `regress`."""
    _install(session, "benchmarks,search")
    session.run("python", "-m", "benchmarks", "regress", *session.posargs)


@nox.session
def results(session: nox.Session) -> None:
    """Make the pages of `results/` again from the records; `-- --check` only compares, byte for byte."""
    _install(session, "benchmarks,figures")
    session.run("python", "-m", "benchmarks", "results", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory on generated data; what follows `--` goes to `python -m benchmarks.bench`."""
    _install(session, "tests")
    session.run("python", "-m", "benchmarks.bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/docs; a warning fails. What follows `--` goes to `mkdocs build`."""
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    session.install(*extras["docs"], *CONSTRAINTS)  # without the library, whose source is read and not imported
    session.run("python", "-m", "mkdocs", "build", "--strict", *session.posargs)


@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """Build sdist and wheel, compare them with the checkout, and use the wheel in a fresh environment."""
    folder = Path(session.create_tmp()).resolve() / "dist"
    session.install("uv", "pip", *CONSTRAINTS)
    uv = ("python", "-m", "uv")
    # The wheel is built from the sdist.
    session.run(*uv, "build", "--out-dir", str(folder), "--build-constraints", "constraints.txt", "--quiet")
    (wheel,) = folder.glob("*.whl")
    session.install(str(wheel), *CONSTRAINTS)
    session.run("python", "-m", "pip", "check")
    session.run("python", "-m", "tools.distributions", str(folder))
    # Isolated: the checkout is not on its path.
    session.run("python", "-I", "tools/smoke.py", runpy.run_path("dpq/version.py")["__version__"])
    # The lock resolves, and every digest that it needs is there; 3 GB are not fetched for that.
    target = (
        "--python-version",
        "3.11",
        "--python-platform",
        "x86_64-manylinux_2_28",
        "--target",
        str(folder / "lock"),
    )
    session.run(*uv, "pip", "install", "--dry-run", "--quiet", "--require-hashes", "-r", "requirements.lock", *target)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, known vulnerabilities and licences of dependencies."""
    _install(session, "dev")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("python", "-m", "tools.audit")
    session.run("python", "-m", "tools.licences", "--check")


@nox.session
def audit(session: nox.Session) -> None:
    """Ask for known vulnerabilities, and fail where nobody answers; what follows `--` goes to pip-audit."""
    session.install("pip-audit", *CONSTRAINTS)
    session.run("python", "-m", "tools.audit", "--strict", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements.lock, constraints.txt and docs/licences.md again, keeping every version that they hold."""
    _install(session, "dev")
    session.run("python", "-m", "tools.lock")
    session.install("--require-hashes", "-r", "requirements.lock")
    session.run("python", "-m", "tools.licences")
