import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from dpq import InputError
from dpq.files.atomic import sweep, write_atomically


def test_content_replaces_what_was_there_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "record.json"
    write_atomically(path, "one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_keeps_the_old_content_and_cleans_up(tmp_path, monkeypatch, failing):
    path = tmp_path / "record.json"
    write_atomically(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(InputError, match="No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        write_atomically(tmp_path / "file" / "record.json", "x")


def test_the_umask_decides_who_may_read(tmp_path):
    umask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "record.json", "x")
    finally:
        os.umask(umask)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


def test_threads_that_write_leave_the_umask_alone(tmp_path):
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: write_atomically(tmp_path / f"{n}", "x"), range(400)))
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    finally:
        after = os.umask(before)
    assert after == 0o027


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_replaced(tmp_path, there):
    real, link = tmp_path / "store" / "record.json", tmp_path / "now.json"
    real.parent.mkdir()
    if there:
        real.write_text("old")
    (tmp_path / "second.json").symlink_to("store/record.json")
    link.symlink_to("second.json")
    (left := real.with_name(".record.json.abcdefgh")).write_text("half")
    sweep(link)
    assert not left.exists()
    write_atomically(link, "new")
    assert link.is_symlink() and (tmp_path / "second.json").is_symlink() and not real.is_symlink()
    assert link.read_text() == real.read_text() == "new"
    assert {path.name for path in real.parent.iterdir()} == {"record.json"}


def test_what_is_no_file_is_not_replaced(tmp_path):
    folder, pipe, loop = tmp_path / "folder", tmp_path / "pipe", tmp_path / "loop"
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to("loop")
    (tmp_path / "to-pipe").symlink_to("pipe")
    before = set(tmp_path.iterdir())
    for path in sorted(before):
        with pytest.raises(InputError, match=f"cannot write {path} "):
            write_atomically(path, "x")
    assert set(tmp_path.iterdir()) == before and pipe.is_fifo() and loop.is_symlink()


def test_what_a_killed_process_was_writing_is_swept_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    kept = ["record.json", "other.json", ".other.json.abcdefgh", ".record.json.lock", "record.json.abcdefgh"]
    for name in [*kept, ".record.json.abcdefgh"]:
        (tmp_path / name).write_text("half")
    sweep(path)
    assert {one.name for one in tmp_path.iterdir()} == set(kept)
    sweep(tmp_path / "missing" / "record.json")


def test_sweeping_knows_the_temporary_files_of_writing(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    monkeypatch.setattr(os, "replace", lambda *_: sweep(path))
    write_atomically(path, "content")
    assert not list(tmp_path.iterdir())
