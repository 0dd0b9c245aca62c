"""What `requirements.lock` promises: exact versions, digests, no addresses, everything that the project needs."""

import json
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import ROOT
from tools.lock import CONSTRAINTS, HEADER, LOCK, RENEW, constraints, of_cuda, parse

TEXT = LOCK.read_text(encoding="utf-8")
PINS = parse(TEXT)


def test_every_version_has_digests():
    assert [name for name, pin in PINS.items() if not pin.digests] == [], f"run {RENEW}"


def test_it_names_no_address_and_no_package_index():
    assert "://" not in TEXT
    assert [line for line in TEXT.splitlines() if line.startswith("-")] == []


def test_it_says_first_what_it_is_for():
    assert TEXT.startswith(HEADER), f"run {RENEW}"


def test_the_constraints_are_the_locked_versions():
    text = CONSTRAINTS.read_text(encoding="utf-8")
    assert text == constraints(TEXT, text.splitlines(keepends=True)[0]), f"run {RENEW}"
    assert any(of_cuda(name) for name in PINS)


def test_it_holds_all_that_the_project_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = [need for need in map(Requirement, lines) if need.name != project["name"]]
    assert len(declared) > 20
    pins = {need: PINS.get(canonicalize_name(need.name)) for need in declared}
    lacking = [str(need) for need, pin in pins.items() if pin is None or not need.specifier.contains(pin.version)]
    assert lacking == [], f"run {RENEW}"


def test_the_committed_results_of_cpus_were_made_with_it():
    paths = sorted((ROOT / "results").glob("cifar10*/runs/*.json"))
    environments = {path: json.loads(path.read_text(encoding="utf-8"))["environment"] for path in paths}
    of_cpus = {path: environment for path, environment in environments.items() if environment["device"] == "cpu"}
    assert len(of_cpus) > 40
    for path, environment in of_cpus.items():
        for package in ("numpy", "scikit_learn", "timm", "torch"):
            version = PINS[canonicalize_name(package)].version
            assert environment[package].partition("+")[0] == version, f"{path.name}: {package}"


@pytest.mark.parametrize(
    "line",
    [
        "numpy>=2",
        "numpy==2.4.6 --hash=sha256:abc",
        "numpy==2.4.6 --hash=md5:" + "0" * 32,
        "-e .",
        "--index-url somewhere",
        "numpy==1\nnumpy==2",
    ],
)
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match=r"numpy|not an exact version"):
        parse(line + "\n")


def test_digests_of_continued_lines_belong_to_their_version():
    first, second = "0" * 64, "1" * 64
    text = f"# comment\na==1 \\\n    --hash=sha256:{first} \\\n    --hash=sha256:{second}\nb==2\n"
    assert parse(text) == {"a": ("1", (first, second)), "b": ("2", ())}
