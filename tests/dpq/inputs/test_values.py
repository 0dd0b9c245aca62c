"""The one checker of numbers that callers hand over."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from dpq import InputError
from dpq.inputs.values import (
    as_array,
    as_flags,
    as_tensor,
    label_flags,
    label_tensor,
    positive_number,
    whole_number,
    whole_numbers,
)

PLAIN = np.arange(6, dtype=np.float32).reshape(2, 3)

TAKEN = {
    "big-endian": PLAIN.astype(">f4"),
    "reversed twice": PLAIN[::-1].copy()[::-1],
    "by columns": np.asfortranarray(PLAIN),
    "read-only": np.frombuffer(PLAIN.tobytes(), np.float32).reshape(2, 3),
    "half": PLAIN.astype(np.float16),
    "long double": PLAIN.astype(np.longdouble),
    "objects": PLAIN.astype(object),
    "data frame": pd.DataFrame(PLAIN),
    "data frame of two types": pd.DataFrame({"a": [0, 3], "b": [1.0, 4.0], "c": pd.array([2, 5], dtype="Int64")}),
    "lists": PLAIN.tolist(),
    "tuple of arrays": tuple(PLAIN),
    "list of tensors": list(torch.from_numpy(PLAIN)),
    "lists of scalars": [[torch.tensor(0), np.int8(1), 2.0], [3, 4, torch.tensor(5.0)]],
    "nothing masked": np.ma.array(PLAIN, mask=False),
    "bfloat16": torch.from_numpy(PLAIN).bfloat16(),
    "with gradient": torch.from_numpy(PLAIN).requires_grad_(),
    "negated lazily": torch.complex(torch.zeros(2, 3), -torch.from_numpy(PLAIN)).conj().imag,
    "unsigned": torch.from_numpy(PLAIN.astype(np.uint16)),
}

REFUSED = {
    "complex array": (PLAIN + 1j, "x are complex numbers"),
    "complex tensor": (torch.from_numpy(PLAIN + 0j), "x are complex numbers"),
    "masked": (np.ma.array(PLAIN, mask=PLAIN > 4), "x hold masked values; leave them out"),
    "masked inside": ([np.ma.array(PLAIN[0], mask=True), PLAIN[1]], "x hold masked values"),
    "rows of different lengths": ([[1, 2], [3]], "x cannot be read as numbers"),
    "texts": ([["1"]], "x are <U1 in a str"),
    "nothing": (None, "x are object in a NoneType"),
    "dates": (np.array(["2020"], "M8[Y]"), "x are datetime64"),
    "sparse matrix": (sparse.csr_matrix(PLAIN), "x are object in a csr_matrix"),
    "sparse tensor": (torch.from_numpy(PLAIN).to_sparse(), "layout torch.sparse_coo"),
    "generator": ((row for row in PLAIN), "x are object in a generator"),
    "too large for any integer": ([1, 2**64], "x are object in a list"),
    "whole numbers that lose digits": ([[2**53 + 1, 0.5]], "x hold 9007199254740993, which real numbers"),
    "in rows": ([np.array([2**53 + 1]), np.array([0.5])], "x hold 9007199254740993, which real numbers"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_forms_that_are_taken(name):
    array, tensor = as_array(TAKEN[name], "x"), as_tensor(TAKEN[name], "x")
    assert array.dtype.isnative and array.dtype.kind in "iuf"
    np.testing.assert_array_equal(array, PLAIN)
    np.testing.assert_array_equal(tensor.detach().numpy(), PLAIN)


@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_are_refused(name):
    given, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as error:
        as_array(given, "x")
    assert "\n" not in str(error.value)
    if name != "generator":
        with pytest.raises(InputError, match=words):
            as_tensor(given, "x")


def test_tensors_and_arrays_are_not_copied_without_need():
    x = torch.zeros(2, requires_grad=True)
    assert as_tensor(x, "x") is x and as_array(PLAIN, "x") is PLAIN
    assert as_tensor(np.array([2**63 - 1], np.uint64), "x").tolist() == [2**63 - 1]
    with pytest.raises(InputError, match="whole numbers are below"):
        as_tensor(np.array([2**63], np.uint64), "x")


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int64, np.float32])
def test_flags(kind):
    assert as_flags(np.array([[0, 1]], dtype=kind), "labels").tolist() == [[False, True]]
    assert label_tensor(torch.from_numpy(np.array([[0, 1]], dtype=kind)), 1).tolist() == [[False, True]]


@pytest.mark.parametrize("bad", [2, -1, 0.5, float("nan"), float("inf")])
def test_what_is_no_flag(bad):
    for check, argument in ((as_flags, "labels"), (label_flags, "labels"), (label_tensor, 1)):
        with pytest.raises(InputError, match="labels must be bool, or hold only 0 and 1; got"):
            check(np.array([[0, bad]]), argument)


@pytest.mark.parametrize("five", [5, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5), pd.Series([5])[0]])
def test_whole_numbers(five):
    assert whole_number("k", five) == 5 and type(whole_number("k", five)) is int
    assert whole_numbers("ks", [five, 1]) == [5, 1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5.0, "k must be a whole number of at least 1; got 5.0; give 5"),
        (np.float32(2.5), r"got np.float32\(2.5\)$"),
        (True, "got True"),
        (np.True_, "got np.True_"),
        (torch.tensor(True), r"got tensor\(True\)"),
        ("5", "got '5'"),
        (None, "got None"),
        (float("nan"), "got nan"),
        (float("inf"), "got inf"),
        ([5], r"got \[5\]"),
        (np.array([5]), r"got array\(\[5\]\)"),
        (torch.tensor([5]), r"got tensor\(\[5\]\)"),
        (0, "k must be at least 1; got 0"),
        (-(2**70), "k must be at least 1; got -"),
    ],
)
def test_what_is_no_whole_number(value, words):
    with pytest.raises(InputError, match=words):
        whole_number("k", value)
    with pytest.raises(InputError, match=words):
        whole_numbers("k", [value])


def test_ranges_of_whole_numbers():
    assert whole_number("k", -3, None) == -3 and whole_numbers("ks", ()) == []
    with pytest.raises(InputError, match="k must be from 1 to 4; got 5"):
        whole_number("k", 5, 1, 4)
    with pytest.raises(InputError, match=r"k must be a whole number from 1 to 4; got 2\.5"):
        whole_number("k", 2.5, 1, 4)
    for one in (5, "12", None, torch.tensor(3)):
        with pytest.raises(InputError, match="ks must be a list of whole numbers"):
            whole_numbers("ks", one)
    for bad in (0, -1.0, float("nan"), float("inf"), "1", True, None):
        with pytest.raises(InputError, match="gamma must be a positive number"):
            positive_number("gamma", bad)
    assert positive_number("gamma", np.float32(0.5)) == 0.5
