"""Lowest declared versions: `nox -s lowest` installs them; here is what it found."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# By package: what is refused or missing below that version.
NEEDED = {
    "jinja2": ((3, 1, 2), "pandas takes no older one"),
    "faiss-cpu": ((1, 10), "IndexResidualQuantizer.add_sa_codes"),
    "matplotlib": ((3, 9), "rectangles of axvspan"),
    "safetensors": ((0, 4, 4), "files without tensors"),
}


@pytest.mark.parametrize("package", NEEDED)
def test_no_minimum_is_below_what_works(package):
    every = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    declared = [re.fullmatch(rf"{package}>=([\d.]+)", one) for one in every]
    (lowest,) = [tuple(map(int, found[1].split("."))) for found in declared if found]
    version, reason = NEEDED[package]
    assert lowest >= version, reason
