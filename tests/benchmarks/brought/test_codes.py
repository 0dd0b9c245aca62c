import io
import zipfile

import numpy as np
import pytest

from benchmarks.brought.codes import read_codes, sign_codes
from benchmarks.records.raw import RawResult, write_raw
from dpq import InputError
from dpq.codes.additive import decode

RNG = np.random.default_rng(0)
ADDITIVE = {
    "codes": RNG.integers(0, 16, (30, 2)).astype(np.uint8),
    "codebooks": RNG.standard_normal((2, 16, 4)),
    "queries": RNG.standard_normal((7, 4)).astype(np.float32),
}
BINARY = {"database_bits": RNG.random((30, 12)) < 0.5, "query_bits": RNG.random((7, 12)) < 0.5}
EMBEDDINGS = {"database": RNG.standard_normal((30, 4)), "queries": RNG.standard_normal((7, 4))}


@pytest.mark.parametrize(
    ("arrays", "kind", "dim", "size"),
    [(ADDITIVE, "additive", 4, 16), (BINARY, "binary", 12, None), (EMBEDDINGS, "embeddings", 4, None)],
    ids=["additive", "binary", "embeddings"],
)
def test_each_form_is_told_by_its_arrays(put, arrays, kind, dim, size):
    given = read_codes(put(**arrays))
    origin = given.origin
    assert (origin.kind, origin.dim, origin.codebook_size, len(origin.sha256)) == (kind, dim, size, 64)
    assert set(given.arrays) == set(arrays)


def test_types_of_other_programs_are_taken(put):
    given = read_codes(
        put(
            codes=ADDITIVE["codes"].astype(">i8"),
            codebooks=np.asfortranarray(ADDITIVE["codebooks"].astype(np.float16)),
            queries=ADDITIVE["queries"].astype(">f8"),
        )
    ).arrays
    assert {array.dtype for array in given.values()} == {np.dtype(np.uint8), np.dtype(np.float32)}
    assert np.array_equal(given["codes"], ADDITIVE["codes"])
    assert np.array_equal(given["queries"], ADDITIVE["queries"])
    assert np.array_equal(given["codebooks"], ADDITIVE["codebooks"].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int64, np.float64])
def test_bits_are_signs_however_they_are_said(put, kind):
    wanted = {name: np.where(bits, 1, -1) for name, bits in BINARY.items()}
    given = read_codes(put(**{name: bits.astype(kind) for name, bits in BINARY.items()})).arrays
    assert all(np.array_equal(given[name], wanted[name]) for name in BINARY)
    if kind in (np.int64, np.float64):
        given = read_codes(put(**{name: signs.astype(kind) for name, signs in wanted.items()})).arrays
        assert all(np.array_equal(given[name], wanted[name]) for name in BINARY)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "it holds nothing; needs codes, codebooks, queries; or database_bits, query_bits; or database, queries"),
        ({"codes": ADDITIVE["codes"]}, "it holds codes; needs"),
        (ADDITIVE | BINARY, "it holds codebooks, codes, database_bits, queries, query_bits; needs"),
        (ADDITIVE | {"query_id": np.arange(7)}, "it holds 'query_id', which is none of codes, codebooks"),
        (BINARY | {"query_codes": np.ones((7, 2), int)}, "it holds 'query_codes', which is none of"),
        (ADDITIVE | {"reconstructions": np.ones((3, 4))}, "decoded by a network, and are no sums of codewords"),
        (ADDITIVE | {"codes": ADDITIVE["codes"].astype(float)}, r"codes is float64 \[30, 2\]; needs whole numbers"),
        (ADDITIVE | {"codes": ADDITIVE["codes"][:, 0]}, r"codes is uint8 \[30\]; needs whole numbers \[N, M\]"),
        (ADDITIVE | {"codes": ADDITIVE["codes"][:0]}, r"codes is uint8 \[0, 2\]"),
        (ADDITIVE | {"codes": ADDITIVE["codes"].astype(int) - 5}, r"codes go from -\d+ to \d+"),
        (ADDITIVE | {"codes": ADDITIVE["codes"].astype(int) + 256}, "a codeword's number is from 0 to 255"),
        (ADDITIVE | {"codes": ADDITIVE["codes"] + 1}, "codes go up to 16, but a level has 16 codewords"),
        (ADDITIVE | {"codes": ADDITIVE["codes"][:, :1]}, "codebooks has 2 along M, codes has 1"),
        (ADDITIVE | {"codebooks": ADDITIVE["codebooks"].astype(int)}, "codebooks is int64 .*needs real numbers"),
        (ADDITIVE | {"codebooks": ADDITIVE["codebooks"][:, :10] * 0}, "must be a power of two|but a level has 10"),
        (ADDITIVE | {"queries": ADDITIVE["queries"][:, :3]}, "queries has 3 along D, codebooks has 4"),
        (ADDITIVE | {"query_codes": np.full((7, 2), 16)}, "query_codes go up to 16"),
        (ADDITIVE | {"query_ids": np.arange(6)}, "query_ids has 6 along Q, queries has 7"),
        (ADDITIVE | {"query_ids": np.arange(7.0)}, "query_ids is float64 .*needs texts or whole numbers"),
        (BINARY | {"query_bits": BINARY["query_bits"][:, :8]}, "query_bits has 8 along B, database_bits has 12"),
        (BINARY | {"query_bits": np.full((7, 12), 255)}, "bits are 0 and 1, or -1 and 1, on both sides; got 0, 1, 255"),
        (BINARY | {"query_bits": np.sign(np.arange(-42, 42)).reshape(7, 12)}, "got -1, 0, 1"),
        (BINARY | {"query_bits": np.full((7, 12), np.nan)}, "got 0, 1, nan"),
        (EMBEDDINGS | {"queries": np.full((7, 4), np.nan)}, "queries holds a number that is not finite"),
        (EMBEDDINGS | {"database": np.full((30, 4), 1e39)}, "database holds a number that is not finite in float32"),
        (
            EMBEDDINGS | {"database": np.full((30, 4), -1e13)},
            r"database holds 1e\+13; above 1e\+12 scores leave float32",
        ),
        (EMBEDDINGS | {"database": np.ones((30, 4), complex)}, "database is complex128"),
        ({"database_bits": np.ones((1, 1025)), "query_bits": np.ones((1, 1025))}, "a code has 1025 bits; 1024 are"),
        ({"database": np.ones((1, 32769)), "queries": np.ones((1, 32769))}, "a row has 32769 dimensions"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(put, arrays, words):
    with pytest.raises(InputError, match=words) as error:
        read_codes(put(**arrays))
    assert "\n" not in str(error.value)
    assert "write it with numpy.savez as docs/score.md shows" in str(error.value)


def test_nothing_is_unpickled(put, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for name in ("codes", "query_ids"):
        with pytest.raises(InputError, match=f"{name} is object"):
            read_codes(put(**(ADDITIVE | {name: np.array([[Bomb()]], dtype=object)})))
    assert not (tmp_path / "ran").exists()


def test_what_unpacks_to_more_than_it_is_is_refused(tmp_path):
    path = tmp_path / "codes.npz"
    np.savez_compressed(path, **(ADDITIVE | {"codes": np.zeros((1 << 22, 2), np.uint8)}))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(InputError, match=r"unpack to more than the file has: numpy\.savez does not compress"):
        read_codes(path)
    rng = np.random.default_rng(0)  # which deflate makes larger
    noise = {"database": rng.standard_normal((64, 8)), "queries": rng.standard_normal((1, 8))}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in noise.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{name}.npy", stream.getvalue())
        archive.writestr("run.npy", rng.bytes(4096))
    with pytest.raises(InputError, match=r"is compressed|unpack to more"):
        read_codes(path)


def test_a_header_that_claims_more_than_the_file_has_is_refused(put):
    path = put(**ADDITIVE)
    path.write_bytes(path.read_bytes().replace(b"(30, 2), ", b"(90, 2), "))
    with pytest.raises(InputError, match="cannot be scored"):
        read_codes(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x93NUMPY\x01\x00"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "codes.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"codes\.npz cannot be scored"):
        read_codes(tmp_path / "codes.npz")
    with pytest.raises(InputError, match=r"no file .*other\.npz; give an .npz file that numpy.savez has written"):
        read_codes(tmp_path / "other.npz")


def test_a_raw_result_of_ours_is_taken(tmp_path):
    flags = np.ones((7, 3), bool), np.ones((30, 3), bool)
    own = RawResult(
        ADDITIVE["codes"], ADDITIVE["codebooks"].astype(np.float32), ADDITIVE["queries"], *flags, run="some run"
    )
    write_raw(tmp_path / "codes.npz", own)
    assert set(read_codes(tmp_path / "codes.npz").arrays) == {"codes", "codebooks", "queries"}


@pytest.mark.parametrize(("bits", "step"), [(1, 1), (12, 4), (13, 1), (16, 8), (24, 8)])
def test_sums_of_signs_are_the_signs(bits, step):
    signs = np.where(np.random.default_rng(bits).random((50, bits)) < 0.5, 1, -1)
    codes, codebooks = sign_codes(signs, step)
    assert (codes.shape, codebooks.shape) == ((50, bits // step), (bits // step, 2**step, bits))
    assert np.array_equal(decode(codes, codebooks).numpy(), signs)
    assert len(np.unique(codebooks.reshape(-1, bits), axis=0)) == bits // step * 2**step


def test_rows_are_counted_against_the_lists(put, dataset):
    with pytest.raises(InputError, match=r"queries has 6 rows, digits has 7 query images; give one a line of"):
        read_codes(put(**(ADDITIVE | {"queries": ADDITIVE["queries"][:6]}))).raw(dataset, ())
    with pytest.raises(InputError, match="database_bits has 29 rows, digits has 30 database images"):
        read_codes(put(**(BINARY | {"database_bits": BINARY["database_bits"][:29]}))).raw(dataset, ())
