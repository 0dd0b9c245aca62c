import json

import numpy as np
import pytest

from benchmarks.records import RawResult, digest, read_raw, read_record, write_raw, write_record
from dpq import InputError
from tests.benchmarks.conftest import make_record


def test_a_record_comes_back_as_it_was(tmp_path):
    record = make_record()
    write_record(tmp_path / "r.json", record)
    assert read_record(tmp_path / "r.json") == record


def test_numbers_that_are_not_finite_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path / "r.json", make_record(float_map=float("nan")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"schema_version": 99})])
def test_what_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError):
        read_record(tmp_path / "r.json")


def raw():
    rng = np.random.default_rng(0)
    return RawResult(
        codes=rng.integers(16, size=(9, 2), dtype=np.uint8),
        codebooks=rng.normal(size=(2, 16, 3)).astype(np.float32),
        queries=rng.normal(size=(4, 3)).astype(np.float32),
        query_labels=rng.random((4, 2)) < 0.5,
        database_labels=rng.random((9, 2)) < 0.5,
    )


def test_raw_results_come_back_as_they_were(tmp_path):
    write_raw(tmp_path / "r.npz", raw())
    again = read_raw(tmp_path / "r.npz")
    for name, value in vars(raw()).items():
        assert np.array_equal(getattr(again, name), value)
        assert getattr(again, name).dtype == value.dtype


def test_raw_results_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "r.npz", codes=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        read_raw(tmp_path / "r.npz")


def test_missing_and_truncated_raw_results_are_refused(tmp_path):
    with pytest.raises(InputError, match="not committed"):
        read_raw(tmp_path / "r.npz")
    write_raw(tmp_path / "r.npz", raw())
    (tmp_path / "r.npz").write_bytes((tmp_path / "r.npz").read_bytes()[:300])
    with pytest.raises(InputError, match="damaged"):
        read_raw(tmp_path / "r.npz")


def test_digests_ignore_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
