"""The lock, exact versions with digests of their files; `python -m tools.lock` writes it again from `pyproject.toml`.

No version of `constraints.txt` changes: it gains the packages that it lacks and loses those that nothing needs now.
To move to another version, write it into `constraints.txt` first.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from dpq.files.atomic import write_atomically
from tools import ROOT

LOCK = ROOT / "requirements.lock"
CONSTRAINTS = ROOT / "constraints.txt"
RENEW = "nox -s lock"
HEADER = (
    "# The whole environment of the committed results, with digests: Python 3.11 on Linux x86-64, torch's CUDA build.\n"
    f"# Made by `{RENEW}`; docs/dependencies.md says how to install it.\n"
)
_COMPILE = ("pip", "compile", "pyproject.toml", "--all-extras", "-c", CONSTRAINTS.name, "--generate-hashes")
_TARGET = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
_BARE = ("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet")

# Come with the CUDA build of torch, which pins them; another build of torch needs others or none.
_CUDA = re.compile(r"nvidia-|cuda-|triton$")
_PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^\s;]+)")
_DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})(?!\S)")


class Pin(NamedTuple):
    """One line of a lock: a version, and the SHA-256 digests of its files."""

    version: str
    digests: tuple[str, ...]


def parse(text: str) -> dict[str, Pin]:
    """Name of a package -> its pin, from a requirements file.

    Raises:
        ValueError: a line is anything else than an exact version with digests, or a package stands there twice.
    """
    pins: dict[str, Pin] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement, *options = line.split()
        match = _PIN.fullmatch(requirement)
        if match is None or not all(_DIGEST.fullmatch(option) for option in options):
            raise ValueError(f"not an exact version with SHA-256 digests: {line}")
        if match[1] in pins:
            raise ValueError(f"{match[1]} stands there twice")
        pins[match[1]] = Pin(match[2], tuple(_DIGEST.findall(line)))
    return pins


def of_cuda(name: str) -> bool:
    """Whether a package is part of torch's CUDA build."""
    return _CUDA.match(name) is not None


def compiled() -> str:
    """The lock's text: what uv resolves, starting from the versions that are locked now.

    Raises:
        subprocess.CalledProcessError: uv found no solution, and has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, LOCK.name)
        if LOCK.exists():
            output.write_bytes(LOCK.read_bytes())
        command = [sys.executable, "-m", "uv", *_COMPILE, *_TARGET, *_BARE, "--output-file", str(output)]
        subprocess.run(command, cwd=ROOT, check=True)
        return HEADER + output.read_text(encoding="utf-8")


def constraints(lock: str, header: str) -> str:
    """The text of `constraints.txt`: the locked versions, less what only the CUDA build of torch needs."""
    pins = (f"{name}=={pin.version}\n" for name, pin in sorted(parse(lock).items()) if not of_cuda(name))
    return header + "".join(pins)


def main() -> int:
    """Write both files."""
    header = CONSTRAINTS.read_text(encoding="utf-8").splitlines(keepends=True)[0]
    try:
        lock = compiled()
    except subprocess.CalledProcessError as error:
        print(f"{LOCK.name} is unchanged: uv could not resolve the dependencies (see above)", file=sys.stderr)
        return error.returncode
    write_atomically(CONSTRAINTS, constraints(lock, header), remedy="check its permissions")
    write_atomically(LOCK, lock, remedy="check its permissions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
