import errno
import fcntl

import pytest
from filelock import SoftFileLock, Timeout

from dpq.files.locks import file_lock, remedy


def test_a_lock_is_the_systems_own_where_there_is_flock(tmp_path, caplog):
    lock = file_lock(tmp_path / "x.lock")
    assert not isinstance(lock, SoftFileLock)
    with lock, pytest.raises(Timeout):
        file_lock(tmp_path / "x.lock").acquire(timeout=0)
    assert remedy(lock) == str(tmp_path / "x.lock")
    assert caplog.text == ""


@pytest.mark.parametrize("missing", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_flock_it_is_said_and_the_file_to_delete_is_named(tmp_path, caplog, monkeypatch, missing):
    def flock(file, operation):
        raise OSError(missing, "none here")

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = file_lock(tmp_path / "x.lock")
    assert caplog.text.count("without flock") == 1
    with lock, pytest.raises(Timeout):
        file_lock(tmp_path / "x.lock").acquire(timeout=0)
    assert caplog.text.count("without flock") == 1
    assert remedy(lock).startswith(f"{tmp_path / 'x.lock'}; there is no flock here: delete the file")
