"""A disk that fills up, or a folder that turns read-only: one line, nothing lost, and the same numbers afterwards."""

import errno
import os
import resource

import pytest

from benchmarks.__main__ import main
from dpq.files import atomic
from tests.benchmarks.children import Child, command, results

EPOCHS = 3
WRITES = ["checkpoint"] * EPOCHS + ["embeddings"] * 2 + ["raw result", "record"]


def arguments(output, seeds="0"):
    few = ["--limit", "100", "--epochs", str(EPOCHS), "--seeds", seeds]
    return ["run", "tiny", "--method", "dpq", *few, "--output", str(output)]


def full():
    """No file may grow beyond what stderr and locks need."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def read_only():
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def refuse(how, first):
    """From the write of that number on, none succeeds."""
    beside, count = atomic._beside, 0

    def refusing(place):
        nonlocal count
        count += 1
        if count > first:
            how()
        return beside(place)

    atomic._beside = refusing


@pytest.fixture
def whole(configs, tmp_path):
    child = Child(tmp_path, command, arguments(tmp_path / "whole"))
    assert child.end() == 0
    return results(tmp_path / "whole")


@pytest.mark.parametrize(("how", "reason"), [(full, "File too large"), (read_only, "Read-only file system")])
def test_what_was_finished_is_kept_and_the_rest_is_done_later(whole, tmp_path, how, reason):
    for number, kind in enumerate(WRITES):
        output = tmp_path / str(number)
        failed = Child(tmp_path, command, arguments(output), refuse, how, number)
        assert failed.end() == 2, kind
        last = failed.err.splitlines()[-1]
        assert last.startswith("error: cannot write ")
        assert f"({reason})" in last
        assert "choose another folder; on the command line: --output DIR" in last
        assert "Traceback" not in failed.err
        kept = results(output)  # none of them damaged
        assert len(kept) == len(set(WRITES[:number])) + (number > EPOCHS + 1)
        again = Child(tmp_path, command, arguments(output))
        assert again.end() == 0, again.err
        assert results(output) == whole
        trained = [line for line in again.err.splitlines() if line.startswith("epoch")]
        assert len(trained) == max(0, EPOCHS - number)


def test_finished_runs_stay_as_they_are(whole, tmp_path):
    output = tmp_path / "whole"
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    failed = Child(tmp_path, command, arguments(output, "0,1"), refuse, full, 0)
    assert failed.end() == 2
    assert {path: path.read_bytes() for path in before} == before
    again = Child(tmp_path, command, arguments(output, "0,1"))
    assert again.end() == 0
    assert {path: path.read_bytes() for path in before if ".locks" not in path.parts} == {
        path: content for path, content in before.items() if ".locks" not in path.parts
    }


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind the superuser")
@pytest.mark.parametrize("task", ["table", "figures", "run"])
def test_a_read_only_folder_is_named_and_kept(run_tiny, tmp_path, capsys, task):
    run_tiny()
    folder = tmp_path / "results/tiny"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    more = ["--limit", "100", "--method", "dpq", "--seeds", "1"] if task == "run" else []
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for one in folders:
        one.chmod(0o555)
    try:
        assert main([task, "tiny", "--output", str(tmp_path / "results"), *more]) == 2
    finally:
        for one in folders:
            one.chmod(0o755)
    assert "cannot write" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
