import os
import platform
import signal

import pytest

from benchmarks.running.locks import Busy, in_turn, locked
from dpq import InputError
from tests.benchmarks.children import Child, hear, say


def hold(path):
    with locked(path):
        say("held")
        hear()
    return 0


@pytest.fixture
def held(configs, tmp_path):
    """A lock, and the process that holds it."""
    child = Child(tmp_path, hold, tmp_path / "locks/some.lock")
    assert child.hear() == "held"
    yield tmp_path / "locks/some.lock", child
    child.tell("let go")
    child.end()


def test_who_does_not_wait_hears_who_holds_the_lock(held):
    path, child = held
    with pytest.raises(Busy, match=f"^process {child.pid} on {platform.node()}$"), locked(path, wait=False):
        pass


def test_who_waits_says_so_and_gets_the_lock(held, caplog, monkeypatch):
    path, child = held
    monkeypatch.setattr("benchmarks.running.locks.log.info", lambda *_: child.tell("let go"))
    with locked(path):
        assert child.end() == 0


def test_a_lock_ends_with_its_process(held):
    path, child = held
    os.kill(child.pid, signal.SIGKILL)
    child.end()
    with locked(path, wait=False), locked(path.with_name("other.lock"), wait=False):
        pass


def test_what_another_process_works_on_comes_last(held, caplog):
    path, child = held
    done = []

    def do(item):
        done.append(item.stem)
        if len(done) == 2:
            child.tell("let go")

    with caplog.at_level("INFO"):
        in_turn([path, path.with_name("one.lock"), path.with_name("two.lock")], lambda item: [item], do)
    assert done == ["one", "two", "some"]
    assert f"process {child.pid} on {platform.node()} works on some; going on" in caplog.text


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"some\.lock .*choose another --output"), locked(tmp_path / "file/some.lock"):
        pass


def test_a_lock_of_a_dead_machine_is_named_where_there_is_no_flock(tmp_path, caplog, monkeypatch):
    path = tmp_path / "some.lock"
    monkeypatch.setattr("dpq.files.locks._has_flock", lambda folder: False)
    path.write_text("1234\ndeadnode17\n")
    path.with_suffix(".holder").write_text("process 1234 on deadnode17")

    class WaitedFor(Exception):
        pass

    def info(text, *arguments):
        raise WaitedFor(text % arguments)

    monkeypatch.setattr("benchmarks.running.locks.log.info", info)
    with pytest.raises(WaitedFor) as said, locked(path):
        pass
    assert str(said.value).startswith(
        f"waiting for process 1234 on deadnode17, which works on some ({path}; there is no"
    )
