import io
import lzma
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.records.raw import (
    COMPACT,
    RawResult,
    check_fits,
    committed_average_precision,
    read_raw,
    run_of,
    write_raw,
)
from benchmarks.records.store import as_record
from dpq import InputError
from dpq.method.dpq import codeword_usage
from tests.benchmarks.conftest import make_record


def raw():
    rng = np.random.default_rng(0)
    return RawResult(
        codes=rng.integers(16, size=(9, 2), dtype=np.uint8),
        codebooks=rng.normal(size=(2, 16, 3)).astype(np.float32),
        queries=rng.normal(size=(4, 3)).astype(np.float32),
        query_labels=rng.random((4, 2)) < 0.5,
        database_labels=rng.random((9, 2)) < 0.5,
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_raw_results_come_back_as_they_were(tmp_path, order):
    write_raw(tmp_path / "r.npz", RawResult(**{k: np.array(v, order=order) for k, v in raw().arrays.items()}))
    again = read_raw(tmp_path / "r.npz")
    for name, value in raw().arrays.items():
        assert np.array_equal(getattr(again, name), value)
        assert getattr(again, name).dtype == value.dtype


def whole():
    """With all that is not in older files."""
    averages = np.random.default_rng(1).random((2, 4)).astype(np.float32)
    return replace(raw(), average_precision=averages, run="dpq-paper-seed0-0123456789 2026-01-01")


def test_the_compact_form_has_everything_and_rounds_what_is_in_half_precision_alone(tmp_path):
    made = whole()
    write_raw(tmp_path / f"r{COMPACT}", made)
    again = read_raw(tmp_path / f"r{COMPACT}")
    assert again.run == made.run
    for name in ("codes", "query_labels", "database_labels", "average_precision"):
        assert np.array_equal(getattr(again, name), getattr(made, name))
    for name in ("codebooks", "queries"):
        largest = np.abs(getattr(made, name)).max()
        assert getattr(again, name).dtype == np.float32
        assert 0 < np.abs(getattr(again, name) - getattr(made, name)).max() <= largest / 2**10


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_compact_form_keeps_ten_bits_at_any_scale(tmp_path, scale):
    queries = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)
    write_raw(tmp_path / f"r{COMPACT}", replace(raw(), queries=queries * np.float32(scale)))
    again = read_raw(tmp_path / f"r{COMPACT}").queries / scale
    assert again == pytest.approx(queries, abs=2**-10)


def test_the_compact_form_is_read_by_numpy_alone(tmp_path):
    write_raw(tmp_path / f"r{COMPACT}", whole())
    with lzma.open(tmp_path / f"r{COMPACT}") as file, np.load(file) as arrays:
        assert arrays["queries"].dtype == arrays["codebooks"].dtype == np.float16
        assert np.array_equal(arrays["average_precision"], whole().average_precision)


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    with np.errstate(over="ignore"):
        write_raw(tmp_path / f"r{COMPACT}", replace(raw(), queries=raw().queries * 1e6))
    with pytest.raises(InputError, match="queries holds a number that is not finite"):
        read_raw(tmp_path / f"r{COMPACT}")


def packed(path, content):
    (path / f"r{COMPACT}").write_bytes(content)
    return path / f"r{COMPACT}"


def test_compact_files_that_are_not_whole_are_refused(tmp_path, monkeypatch):
    write_raw(tmp_path / f"r{COMPACT}", whole())
    content = (tmp_path / f"r{COMPACT}").read_bytes()
    middle = len(content) // 2
    for damaged, words in (
        (content[:middle], "it ends before what was packed"),
        (content + b"more", "or goes on behind it"),
        (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], "is damaged"),
        (b"", "it ends before"),
        (lzma.compress(b"no archive"), "is damaged .*not a zip file"),
    ):
        with pytest.raises(InputError, match=words):
            read_raw(packed(tmp_path, damaged))
    write_raw(tmp_path / "r.npz", whole())  # whose arrays are in single precision
    with pytest.raises(InputError, match=r"codebooks.npy is float32 .*needs float16"):
        read_raw(packed(tmp_path, lzma.compress((tmp_path / "r.npz").read_bytes())))
    monkeypatch.setattr("benchmarks.records.raw.MOST_BYTES", len(content) + 100)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_raw(packed(tmp_path, lzma.compress(bytes(len(content) + 101))))


def test_average_precisions_are_shares(tmp_path):
    put(tmp_path / "r.npz", [*members(), ("average_precision.npy", as_bytes(np.full((2, 4), 1.5, np.float32)))])
    with pytest.raises(InputError, match="average_precision holds what is not from 0 to 1"):
        read_raw(tmp_path / "r.npz")


def put(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


def as_bytes(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def members(**changes):
    return [(f"{k}.npy", v if isinstance(v, bytes) else as_bytes(v)) for k, v in (raw().arrays | changes).items()]


def test_raw_results_are_never_unpickled(tmp_path):
    """Reading this would make the file `ran`."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "r.npz", **(raw().arrays | {"codes": np.array([[Bomb()]], dtype=object)}))
    with pytest.raises(InputError, match=r"damaged .*codes\.npy is object"):
        read_raw(tmp_path / "r.npz")
    assert not (tmp_path / "ran").exists()


def test_missing_and_truncated_raw_results_are_refused(tmp_path):
    with pytest.raises(InputError, match="not committed"):
        read_raw(tmp_path / "r.npz")
    write_raw(tmp_path / "r.npz", raw())
    (tmp_path / "r.npz").write_bytes((tmp_path / "r.npz").read_bytes()[:300])
    with pytest.raises(InputError, match="damaged"):
        read_raw(tmp_path / "r.npz")


def test_a_header_that_claims_more_than_the_file_has_is_refused_without_taking_memory(tmp_path):
    header = as_bytes(raw().codes).replace(b"(9, 2), ", b"(999999999999, 2), ")
    put(tmp_path / "r.npz", members(codes=header))
    with pytest.raises(InputError, match=r"codes.npy has \d+ bytes for the shape \[999999999999, 2\]"):
        read_raw(tmp_path / "r.npz")


def test_what_unpacks_to_more_than_it_is_is_refused(tmp_path):
    put(tmp_path / "r.npz", members(codes=np.zeros((1 << 20, 2), np.uint8)), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        read_raw(tmp_path / "r.npz")


def test_a_byte_that_was_changed_is_seen(tmp_path):
    write_raw(tmp_path / "r.npz", raw())
    content = bytearray((tmp_path / "r.npz").read_bytes())
    content[content.index(raw().queries.tobytes())] ^= 1
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(InputError, match="Bad CRC-32"):
        read_raw(tmp_path / "r.npz")


def nonfinite():
    array = raw().queries
    array[1, 1] = np.inf
    return array


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": np.zeros(1)}, "it holds codebooks.npy, .*extra.npy.* needs .*codebooks.npy"),
        ({"codes": raw().codes.astype(np.int16)}, r"codes.npy is int16 \[9, 2\]; needs uint8 \[N, M\]"),
        ({"codes": raw().codes[0]}, r"codes.npy is uint8 \[2\]"),
        ({"codes": raw().codes[:0]}, r"codes.npy is uint8 \[0, 2\]"),
        ({"codes": raw().codes + 16}, "but a level has 16 codewords"),
        ({"codes": raw().codes[:, :1]}, "codebooks has 2 along M, another array 1"),
        ({"queries": raw().queries[:, :2]}, "queries has 2 along D, another array 3"),
        ({"query_labels": raw().query_labels[:3]}, "query_labels has 3 along Q, another array 4"),
        ({"database_labels": raw().database_labels[:, :1]}, "database_labels has 1 along L, another array 2"),
        ({"queries": nonfinite()}, "queries holds a number that is not finite"),
        ({"query_labels": (raw().query_labels * np.uint8(2)).view(np.bool_)}, "neither true nor false"),
        ({"codes": as_bytes(raw().codes, (2, 0))}, "another version"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, changes, words):
    put(tmp_path / "r.npz", members(**changes))
    with pytest.raises(InputError, match=words):
        read_raw(tmp_path / "r.npz")


def test_an_array_that_stands_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        put(tmp_path / "r.npz", [*members(), *members()[:1]])
    with pytest.raises(InputError, match="it holds"):
        read_raw(tmp_path / "r.npz")


def test_raw_results_of_another_run_are_refused(caplog):
    record = make_record(bits=(4, 8))
    record["data"] |= {"query": 4, "database": 9}
    record["config"]["codebook_size"] = 16
    record["backbone"]["embedding_dim"] = 3
    for length, levels in zip(record["lengths"], (1, 2), strict=True):
        length["distinct_codes"] = len(np.unique(raw().codes[:, :levels], axis=0))
    record |= codeword_usage(torch.from_numpy(raw().codes), 16)
    record = as_record(record)
    own = replace(raw(), run=run_of(record.raw))
    check_fits(own, record)
    with caplog.at_level("INFO"):
        check_fits(raw(), record)
    assert "do not name their run" in caplog.text
    for table in (record.raw | {"id": "dpq-paper-seed1-0123456789"}, record.raw | {"created": "2026-01-02"}):
        with pytest.raises(InputError, match=f"are of another run, {re.escape(run_of(table))}; run the"):
            check_fits(replace(own, run=run_of(table)), record)
    for changes, words in (
        ({"queries": raw().queries[:3]}, "3 queries, the record has 4"),
        ({"codes": raw().codes[:8]}, "8 database images, the record has 9"),
        ({"codebooks": raw().codebooks[:, :8]}, "8 codewords per level, the record has 16"),
        ({"codebooks": raw().codebooks[:, :, :2]}, "2 dimensions, the record has 3"),
        ({"codebooks": raw().codebooks[:1]}, "4 bits, the record has 8"),
        ({"average_precision": np.zeros((1, 4), np.float32)}, "1 code lengths, the record has 2"),
        ({"codes": raw().codes % 2}, "2 different codes of 4 bits, the record has"),
        ({"codes": raw().codes[[0, *range(8)]]}, "different codes of|perplexity at|codewords of"),
    ):
        with pytest.raises(InputError, match=words):
            check_fits(replace(raw(), **changes), record)
    record.raw["data"]["coarse"] = ["fish", "trees", "trees"]
    with pytest.raises(InputError, match="2 labels, the record has 3"):
        check_fits(own, as_record(record.raw))


def test_average_precision_is_read_of_what_is_committed_alone(tmp_path):
    made = whole()
    table = make_record(maps=made.average_precision.mean(axis=1).tolist())
    table["data"] |= {"query": 4}
    record, path = as_record(table), tmp_path / "r.json"
    write_raw(tmp_path / "r.npz", made)
    assert committed_average_precision(path, record) is None  # the full form is on some machines only
    write_raw(tmp_path / f"r{COMPACT}", replace(made, average_precision=None))
    assert committed_average_precision(path, record) is None  # as of older files
    write_raw(tmp_path / f"r{COMPACT}", made)
    found = committed_average_precision(path, record)
    assert found.dtype == np.float64
    assert np.array_equal(found, made.average_precision)
    table["lengths"][1]["map"] += 1e-4
    with pytest.raises(InputError, match=r"r\.npz\.xz is not of the record"):
        committed_average_precision(path, as_record(table))
