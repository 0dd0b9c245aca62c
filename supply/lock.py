"""`python -m supply.lock`: write `requirements.lock` again from `pyproject.toml` and `constraints.txt`.

No version of `constraints.txt` changes: it gains the packages that it lacks and loses those that nothing needs now.
To move to another version, write it into `constraints.txt` first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from dpq.files import write_atomically
from supply.locked import CONSTRAINTS, LOCK, ROOT, of_cuda, parse

HEADER = (
    "# The whole environment of the committed results, with digests: Python 3.11 on Linux x86-64, torch's CUDA build.\n"
    "# Made by `nox -s lock`; docs/dependencies.md says how to install it.\n"
)
_COMPILE = ("pip", "compile", "pyproject.toml", "--all-extras", "-c", CONSTRAINTS.name, "--generate-hashes")
_TARGET = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
_BARE = ("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet")


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
