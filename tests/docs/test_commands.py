"""Every command of the pages is run: by CI as it stands, or here on tiny data.

An experiment's file is replaced by that of a tiny one of the same name, so commands that ask for data which cannot be
shipped run too.
"""

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.__main__ import main, make_parser
from benchmarks.bench.__main__ import make_parser as bench_parser
from benchmarks.setting import experiment
from benchmarks.setting.experiment import known_experiments, load_experiment, parse_experiment
from dpq import InputError
from dpq.__main__ import make_parser as dpq_parser
from dpq.protocols.listed.load import LISTINGS
from tests.benchmarks.conftest import TINY
from tests.docs.commands import PAGES, ROOT, Stopped, ci_commands, commands, fenced, plain, session_commands
from tests.dpq.protocols.own_images import write_classes

# What CI does not run as it stands, and what it runs in its place.
ELSEWHERE = {
    "pip install .": "nox -s package: the wheel that it makes is installed",
    "python -m pip install .": "nox -s package: the wheel that it makes is installed",
    "uv venv --python 3.11": "nox makes environments with uv",
    "uv pip install --require-hashes -r requirements.lock": "nox -s package: resolved, without fetching",
    "uv pip install --no-build-isolation --no-deps -e .": "every session installs the checkout",
    "nox -s fuzz": "nox -s tests: tests/fuzz, with fewer inputs",
    "nox -s audit": "tests/tools/test_audit.py; a service that answers is not everywhere",
    "nox -s audit -- -s osv": "tests/tools/test_audit.py",
    "nox -s lowest": "once a week and after a change of a minimum: a download of old versions",
    "nox -s lock": "tests/tools/test_lock.py compares what it wrote with what is declared",
    "nox -s bench": "tests/benchmarks/bench: small sizes",
    "python -m benchmarks results": "nox -s results -- --check: the same pages, compared",
    "python -m benchmarks compare cifar10-cpu:dpq cifar10-cpu:rq-dpq": "tests/benchmarks/commands/test_compare.py",
    "python -m benchmarks results --parquet rows.parquet": "tests/benchmarks/commands/test_results.py",
    "pip install --no-deps -e tests/plugin/dpq_example_method": "tests/plugin: its metadata is made and found",
    "python -m benchmarks run digits --method rotated-pq pq --output own": "tests/plugin: run and tabulated there",
    "python -m benchmarks table digits --output own": "tests/plugin: run and tabulated there",
    "pip install dpq[search]": "nox -s package: the wheel that it makes is installed",
    "pip install .[search]": "nox -s package: the wheel that it makes is installed",
    "cp -r later/* photos": "test_search_page.py",
    "python -m benchmarks score digits --codes codes.npz --name pca-sign --bits 8,16,32 --output mine": (
        "test_score_page.py"
    ),
    "python -m benchmarks table digits --output mine": "test_score_page.py",
    "pip install -e .[benchmarks]": "nox -s regression installs this",
    "pip install -e .[cluster]": "nox -s tests: the extra is part of that of the tests",
    "pip install -e .[tune]": "nox -s tests: the extra is part of that of the tests",
    "python -m benchmarks run cifar10 --submit slurm --jobs 3 --slurm partition=gpu gpus_per_node=1 time=600": (
        "tests/benchmarks/running/test_submission.py"
    ),
    "python -m benchmarks run digits --submit local --jobs 2": "tests/benchmarks/running/test_submission.py",
    "torchrun --standalone --nproc-per-node 2 -m benchmarks run digits": "tests/benchmarks/test_processes.py",
    "python -m benchmarks run own --data-root FOLDER --method pq dpq --image-size 112 --epochs 10": "test_own_data.py",
}
FEW = ("--limit", "100")


class Runner:
    """Runs commands of pages in an empty folder."""

    def __init__(self, photos):
        self.photos, self.in_ci = photos, ci_commands()

    def run(self, command):
        """Run it, or find where CI does; a string says what is wrong."""
        text = plain(command)
        if text in ELSEWHERE or text in self.in_ci:
            return None
        if text.startswith("nox -s "):
            return self.session(*text.split()[2:])
        if command[:3] == ["python", "-m", "benchmarks.bench"]:
            bench_parser().parse_args(command[3:])
            return None
        if command[:3] == ["python", "-m", "dpq"]:  # test_search_page.py runs them
            return self.parsed(dpq_parser(), command[3:])
        if command[:3] == ["python", "-m", "benchmarks"]:
            return self.benchmarks(command[3:])
        return f"nothing runs: {text}"

    def parsed(self, parser, arguments):
        try:
            parser.parse_args(arguments)
        except (SystemExit, InputError) as end:
            return None if "--help" in arguments else f"{end} of {' '.join(arguments)}"
        return None

    def session(self, name, *arguments):
        try:
            parts = session_commands(name, arguments[1:])  # after the `--`
        except Stopped as stopped:
            return str(stopped)
        return next(filter(None, map(self.run, parts)), None)

    def benchmarks(self, arguments):
        given = [self.filled(argument) for argument in arguments]
        given = [
            path for argument in given for path in (sorted(Path().glob(argument)) if "*" in argument else [argument])
        ]
        name = str(given[0])
        if name == "figures":  # slow; CI draws those of `reproduce-digits`
            load_experiment(make_parser().parse_args([str(argument) for argument in given]).experiment)
            return None
        given += FEW if name == "run" and "--help" not in given and "own" not in given else []
        given += ["--trials", "1", *FEW] if name == "tune" else []
        if name == "run" and not {"--method", "--ablation", "--help"} & set(given):
            given += ["--method", "pq", "dpq"]
        try:
            status = main([str(argument) for argument in given])
        except SystemExit as end:  # --help
            status = end.code
        # Without the published images, the answer is that these are not they.
        accepted = {0, 2} if name == "check-data" and given[1] in LISTINGS else {0}
        return None if status in accepted else f"status {status} of {' '.join(arguments)}"

    def filled(self, argument):
        """An argument with something real for what the page leaves to its reader."""
        run = next(iter(sorted(Path().glob("results/cifar10-cpu/runs/dpq-*.json"))), Path("none"))
        real = {
            "DIR": str(self.photos),
            "FOLDER": str(self.photos),
            "FILE": "none",
            "PROTOCOL": "digits",
            "NAME": "digits",
        }
        return real.get(argument, argument.replace("RUN", run.stem))


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Every experiment tiny, in an empty folder."""
    folder = tmp_path / "configs"
    folder.mkdir()
    text = TINY.replace("[4, 8]", "[4]") + '[tuned.pq]\nstudy = "pq"\n'
    for name in known_experiments():
        protocol = "folder" if name == "own" else "digits"
        (folder / f"{name}.toml").write_text(text.replace('"digits"', f'"{protocol}"'))
    monkeypatch.setattr(experiment, "CONFIGS", folder)
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    for name in ("DPQ_DATA_ROOT", "DPQ_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Runner(write_classes(tmp_path / "photos"))


def test_every_command_of_every_page_is_run(runner):
    problems = []
    for page in PAGES:
        for command in commands(page.read_text(encoding="utf-8")):
            if problem := runner.run(command):
                problems.append(f"{page.relative_to(ROOT)}: {problem}")
    assert problems == []


@pytest.mark.parametrize(
    "command",
    [
        "make all",
        "nox -s nothing",
        "nox -s reproduce-digits -- --fix",
        "python -m benchmarks run nothing",
        "pip install x",
    ],
)
def test_an_unknown_command_is_noticed(runner, command):
    assert runner.run(command.split()) is not None


def test_ci_builds_the_documentation_and_the_packages():
    assert {"nox -s tests", "nox -s docs", "nox -s package", "nox -s results -- --check"} <= ci_commands()


def test_what_is_run_elsewhere_is_on_a_page():
    shown = {plain(command) for page in PAGES for command in commands(page.read_text(encoding="utf-8"))}
    assert sorted(set(ELSEWHERE) - shown) == []


def test_commands_are_found_in_blocks_and_sentences():
    text = "Say `nox -s tests`.\n\n    make a && make b  # why\n\n```sh\nmake c\n```\n\n```python\nd = 1\n```\n"
    assert commands(text + "\n    DIR/x   files\n    DIR/y\n") == [
        ["make", "c"],
        ["make", "a"],
        ["make", "b"],
        ["nox", "-s", "tests"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_and_data_on_a_page_can_be_read(page):
    text = page.read_text(encoding="utf-8")
    for block in fenced(text, "toml"):
        if "[project]" in block:
            tomllib.loads(block)
        else:
            parse_experiment("shown", block)
    for block in fenced(text, "json"):
        json.loads(block)
