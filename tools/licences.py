"""`python -m tools.licences`: write `docs/licences.md`, the licence of every locked package, from what is installed.

`--check` compares instead, package by package; what this platform or build of torch leaves uninstalled is not compared.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

from packaging.utils import canonicalize_name

from dpq.files.atomic import write_atomically
from tools import ROOT
from tools.lock import LOCK, RENEW, parse

PAGE = ROOT / "docs/licences.md"

# The package's metadata names no licence.
_STATED_ELSEWHERE = {"cuda-toolkit": "NVIDIA Proprietary Software"}

_INTRODUCTION = """\
# Licences of the dependencies

dpq is under the MIT licence and bundles none of these packages: each is installed from its own publisher under its own
licence, and none of these licences restricts that of a program which only imports the package. The libraries of NVIDIA
are proprietary; they come with the CUDA build of torch alone, and a CPU build needs none of them.

Every package of `requirements.lock`, those for tests and development included, and the licence that its metadata
states. Made by `nox -s lock`; `nox -s lint` compares it with what is installed.

| package | version | licence |
|:--------|:--------|:--------|
"""

Licences = dict[str, tuple[str, str]]
"""Name of a package -> (version, licence)."""


def installed() -> Licences:
    """Licences of the packages in this environment."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--with-system", "--format=json"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found: Licences = {}
    for entry in report:
        name = canonicalize_name(entry["Name"])
        found[name] = entry["Version"], _STATED_ELSEWHERE.get(name, " ".join(entry["License"].split()))
    return found


def listed(page: str) -> Licences:
    """Licences in the page's table."""
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", page, re.MULTILINE)
    return {name: (version, licence) for name, version, licence in rows if name != "package"}


def page(licences: Licences) -> str:
    """The page's text."""
    rows = (f"| {name} | {version} | {licence} |\n" for name, (version, licence) in sorted(licences.items()))
    return _INTRODUCTION + "".join(rows)


def differences(table: Licences, here: Licences) -> list[str]:
    """What the table says otherwise than the packages of the same version that are installed here."""
    return [
        f"{name} {version}: the page says {licence}, the package {here[name][1]}"
        for name, (version, licence) in table.items()
        if name in here and here[name][0] == version and here[name][1] != licence
    ]


def _write() -> int:
    here = installed()
    pins = parse(LOCK.read_text(encoding="utf-8"))
    absent = [name for name, pin in pins.items() if here.get(name, ("", ""))[0] != pin.version]
    if absent:
        print(f"not installed as locked: {', '.join(absent)}; run {RENEW} on Linux x86-64", file=sys.stderr)
        return 2
    write_atomically(PAGE, page({name: here[name] for name in pins}), remedy="check its permissions")
    return 0


def _check() -> int:
    text = PAGE.read_text(encoding="utf-8")
    table, here = listed(text), installed()
    wrong = differences(table, here)
    if wrong or text != page(table):
        print("\n".join([f"{PAGE.name} is out of date; run {RENEW}", *wrong]), file=sys.stderr)
        return 1
    compared = sum(name in here and here[name][0] == version for name, (version, _) in table.items())
    print(f"{PAGE.name}: {compared} of {len(table)} packages are installed here, as listed", file=sys.stderr)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; exit status 1 where it is wrong, 2 where the lock is not what is installed."""
    parser = argparse.ArgumentParser(prog="python -m tools.licences", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is installed, write nothing")
    return _check() if parser.parse_args(arguments).check else _write()


if __name__ == "__main__":
    sys.exit(main())
