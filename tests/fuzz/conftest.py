import os
import signal

import pytest

from dpq import InputError

MOST_SECONDS = 60  # for one input; a safety net against readers that never end


class Hang(BaseException):
    """Not an Exception, so that no reader takes it for a fault of its file."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all inputs of a module: hypothesis calls a test many times."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def read(folder):
    """Write content to a file and read it.

    Returns what the reader returned, or None where it refused with an InputError of one line. Every other exception,
    a reader that does not end, and a file that is left behind are failures.
    """

    def run(name, content, reader):
        path = folder / name
        path.write_bytes(content)
        signal.signal(signal.SIGALRM, _hang)
        signal.alarm(MOST_SECONDS)
        try:
            return reader(path)
        except InputError as error:
            assert str(error).strip()
            assert len(str(error).splitlines()) == 1, str(error)
            str(error).encode()
            return None
        finally:
            signal.alarm(0)
            assert os.listdir(folder) == [name]
            path.unlink()

    return run


def _hang(*_):
    raise Hang(f"the reader took more than {MOST_SECONDS} seconds")
