"""The five commands of docs/search.md, as they stand on the page, on its 600 digits."""

import re
import shlex
import shutil
import tomllib
from glob import glob
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpq.__main__ import main
from dpq.search.grid import TILE
from dpq.search.images import ImageIndex
from tests.docs.test_pages import DOCS, blocks

PAGE = DOCS / "search.md"
TEXT = PAGE.read_text(encoding="utf-8")


def commands(heading):
    """The commands that are indented below a heading, but for those within its code."""
    section = re.sub(r"^```.*?^```", "", TEXT.split(heading)[1].split("\n## ")[0], flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for line in re.findall(r"^    (\S.*)$", section, re.MULTILINE)]


FIVE = commands("# From a folder of photos to a searchable index\n")
REHEARSED = commands("## A rehearsal on 600 digits\n")
DRAWN = commands("## The picture of the answers\n")


def test_the_rehearsal_is_the_same_commands():
    assert [command[:2] for command in FIVE] == [["pip", "install"]] + [["python", "-m"]] * 4
    assert len(FIVE) == 5
    ours = [command for command in REHEARSED if command[0] == "python"]
    assert ours[0][: len(FIVE[1])] == FIVE[1]
    assert ours[1:] == FIVE[2:]


def test_the_extra_that_is_installed_is_there():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert FIVE[0][2] == f"{project['name']}[search]"
    assert any(line.startswith("faiss-cpu") for line in project["optional-dependencies"]["search"])


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The folder after all commands of the rehearsal, and what each said."""
    folder = tmp_path_factory.mktemp("rehearsal")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(next(blocks(PAGE)), str(PAGE), "exec"), {})
        for command in REHEARSED + DRAWN:
            if command[0] == "cp":
                shutil.copytree("later", "photos", dirs_exist_ok=True)
            else:
                assert command[:3] == ["python", "-m", "dpq"]
                arguments = [sorted(glob(part)) if "*" in part else [part] for part in command[3:]]
                assert main(list(chain(*arguments))) == 0, command
        yield folder


def test_six_hundred_digits_are_indexed_and_ten_appended(rehearsed):
    index = ImageIndex.load(rehearsed / "photos.index")
    assert len(list((rehearsed / "later").rglob("*.png"))) == 10
    assert (len(index.codes), index.codes.bits) == (610, 32)
    assert set(index.codes.names[600:]) == {
        path.relative_to(rehearsed / "later").as_posix() for path in (rehearsed / "later").rglob("*.png")
    }


def test_searching_shows_the_right_pictures(rehearsed):
    index = ImageIndex.load(rehearsed / "photos.index")
    queries = sorted((rehearsed / "later").rglob("*.png"))
    nearest = index.search([rehearsed / "query.png", *queries], 11).rows
    classes = [["7"] * 11, *([query.parent.name] * 11 for query in queries)]
    right = np.array([[Path(index.codes.names[row]).parent.name for row in rows] for rows in nearest]) == classes
    assert right[0].mean() > 0.75
    assert right.mean() > 0.75
    with Image.open(rehearsed / "answers.png") as grid:
        assert grid.height > 10 * TILE and grid.width > 9 * TILE
