"""A path that cannot be looked at is a mistake like every other, in every command that takes one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from benchmarks.__main__ import main as benchmarks
from dpq import InputError
from dpq.__main__ import main as library
from dpq.cli.parser import status_of
from dpq.files.places import exists, is_file, is_folder, matching, real

COMMANDS = """\
dpq train AT --output m
dpq train photos --output AT
dpq train photos --output m --weights AT
dpq index build AT photos --output i
dpq index build model AT --output i
dpq index build model photos --output AT
dpq index search AT q.png
dpq index search i AT
dpq index search i q.png --grid AT
dpq index search i q.png --model AT
dpq index add AT
dpq index add AT q.png
dpq index remove AT q.png
benchmarks run digits --method pq --output AT
benchmarks run digits --method pq --weights AT
benchmarks run digits --method pq --label-vectors AT
benchmarks run own --method pq --data-root AT
benchmarks run cifar10 --method pq --data-root AT
benchmarks run nuswide21 --method pq --data-root AT
benchmarks run imagenet100 --method pq --data-root AT
benchmarks table digits --output AT
benchmarks table digits --output AT --check
benchmarks figures digits --output AT
benchmarks results --output AT
benchmarks results --output AT --check
benchmarks evaluate AT
benchmarks exhibit AT
benchmarks check-data folder --data-root AT
benchmarks check-data nuswide21 --data-root AT
benchmarks check-data cifar10 --data-root AT
benchmarks check-data folder --data-root photos --report AT/r
""".splitlines()


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A path below a folder that may not be entered, also by those who may enter every one."""
    stat = os.stat

    def refusing(path, *arguments, **options):
        if "locked" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *arguments, **options)

    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "stat", refusing)
    yield tmp_path / "locked/in"
    (tmp_path / "locked").chmod(0o700)


@pytest.mark.skipif(os.name == "nt", reason="a link needs rights there")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["too long", "a link to itself"])
def test_one_line_and_exit_2(tmp_path, monkeypatch, capsys, command, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    at = "x" * 300
    if kind != "too long":
        at = "loop"
        Path(at).symlink_to(at)
    if "photos" in command:
        Path("photos").mkdir()
    program, *arguments = command.replace("AT", at).split()
    assert (library if program == "dpq" else benchmarks)(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error


def test_what_is_at_a_path(tmp_path, locked):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for path, expected in (("file", (True, True, False)), ("", (True, False, True)), ("none", (False,) * 3)):
        at = tmp_path / path
        assert (exists(at), is_file(at), is_folder(at)) == expected
    assert not exists(tmp_path / "file/inside")
    assert matching(tmp_path, "f*") == [tmp_path / "file"]
    assert matching(tmp_path / "none", "*") == []
    for at in (locked, tmp_path / "loop", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        for look in (exists, is_file, is_folder, lambda at: matching(at, "*")):
            with pytest.raises(InputError, match=r"cannot look at .*; correct the path, or its permissions") as refusal:
                look(at)
            assert "\n" not in str(refusal.value)
    assert real(tmp_path / "loop").name == "loop"


def test_a_command_that_meets_such_a_path_anywhere_says_so(tmp_path, capsys):
    def meeting(number):
        raise OSError(number, os.strerror(number), str(tmp_path))

    assert status_of(lambda: meeting(errno.EACCES), {}) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot look at {tmp_path}: Permission denied; correct the path")
    with pytest.raises(OSError, match="Input/output"):  # no mistake of the caller
        status_of(lambda: meeting(errno.EIO), {})
