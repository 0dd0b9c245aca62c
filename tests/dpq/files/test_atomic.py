import os

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
