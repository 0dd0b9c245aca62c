"""The lock: exact versions with the digests of the files that may be installed for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
CONSTRAINTS = ROOT / "constraints.txt"
RENEW = "nox -s lock"

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
