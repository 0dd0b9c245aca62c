"""Numbers in whatever form a caller has them: the one checker of what public functions are given.

What can be meant in one way alone is taken: arrays of any layout and byte order, tensors of any device, data frames,
nested lists of these, whole numbers of any library. What would have to be guessed, cut or left out is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpq.errors import InputError, one_line

Numbers: TypeAlias = "npt.ArrayLike | Tensor"

_UNSIGNED, _FLOATS = (torch.uint16, torch.uint32, torch.uint64), (torch.float16, torch.float32, torch.float64)
_EXACT = 2**53  # from here on float64 does not hold every whole number
_FORMS = "give numbers in an array, a tensor, a data frame or nested lists of one length"


def as_array(values: Numbers, name: str) -> NDArray[Any]:
    """Bools, whole or real numbers, as an array of this machine's byte order; a tensor's is on the CPU.

    Args:
        values: of any shape; an array is not copied where it need not be.
        name: what messages call them.

    Raises:
        InputError: rows of different lengths, complex numbers, texts, missing or masked values, sparse matrices, whole
            numbers that lose digits beside others, or anything else that is no number.
    """
    try:
        array = _read(values, name)
    except InputError:
        raise
    except Exception as error:  # every library raises its own
        raise InputError(f"{name} cannot be read as numbers ({one_line(error)}); {_FORMS}") from error
    if array.dtype.kind not in "biuf":
        what = "complex numbers" if array.dtype.kind == "c" else f"{array.dtype} in a {type(values).__name__}"
        raise InputError(f"{name} are {what}; {_FORMS}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _read(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return _real(values, name).detach().cpu().numpy()
    if isinstance(values, np.ndarray) and values.dtype != object:
        if np.ma.is_masked(values):
            raise InputError(f"{name} hold masked values; leave them out, or fill them")
        return np.asarray(values)
    if isinstance(values, list | tuple) and not all(isinstance(each, bool | int | float) for each in values):
        # NumPy would drop their masks, and ask tensors number by number.
        given = [as_array(each, name) for each in values]
        array = np.stack(given)
        if array.dtype.kind == "f" and all(each.dtype.kind in "biu" for each in given):  # signed beside unsigned
            array = np.array([each.tolist() for each in given])
    else:
        array, given = np.asarray(values), [values]
        if array.dtype == object:  # a data frame of several types, or of one that knows missing values
            given = [array.tolist()]
            array = np.array(given[0])
    if array.dtype.kind == "f" and (np.abs(array) >= _EXACT).any():
        _check_whole([np.asarray(each, dtype=object) for each in given], array, name)
    return array


def _check_whole(given: list[NDArray[Any]], array: NDArray[Any], name: str) -> None:
    """Refuse whole numbers that became other ones beside real numbers."""
    numbers = np.concatenate([each.ravel() for each in given])
    lost = [one for one, now in zip(numbers.tolist(), array.ravel().tolist(), strict=True) if one != now == now]
    if lost:
        raise InputError(f"{name} hold {lost[0]}, which real numbers beside it cannot hold; give whole numbers alone")


def as_tensor(values: Numbers, name: str) -> Tensor:
    """As `as_array`; a tensor stays where it is, and keeps its gradient."""
    if isinstance(values, Tensor):
        return _real(values, name)
    array = as_array(values, name)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = _signed(array, name)
    elif array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _real(values: Tensor, name: str) -> Tensor:
    """A dense tensor of a type that NumPy and all operations know."""
    if values.layout != torch.strided or values.is_complex() or values.is_quantized:
        what = "complex numbers" if values.is_complex() else f"{values.dtype} in a tensor of layout {values.layout}"
        raise InputError(f"{name} are {what}; {_FORMS}")
    if values.dtype in _UNSIGNED:
        return torch.from_numpy(_signed(values.cpu().numpy(), name)).to(values.device)
    values = values.resolve_neg()
    return values.float() if values.is_floating_point() and values.dtype not in _FLOATS else values


def _signed(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    if array.size and array.max() >= 2**63:
        raise InputError(f"{name} hold {array.max()}; whole numbers are below 2**63")
    return array.astype(np.int64)


def as_flags(values: Numbers, name: str) -> NDArray[np.bool_]:
    """Bools, or numbers that are all 0 or 1.

    Raises:
        InputError: they are not, or as for `as_array`.
    """
    array = as_array(values, name)
    if array.dtype != np.bool_ and not ((array == 0) | (array == 1)).all():
        other = array[(array != 0) & (array != 1)].flat[0]
        raise InputError(f"{name} must be bool, or hold only 0 and 1; got {other}")
    return array.astype(np.bool_, copy=False)


def label_flags(labels: Numbers, name: str) -> NDArray[np.bool_]:
    """Labels [n, L] as bools; of bools, or numbers that are all 0 or 1.

    Raises:
        InputError: they are not, as class numbers, soft labels, -1 and +1, NaN.
    """
    array = as_array(labels, name)
    # Of two classes, their numbers look like flags of one label, by which images of the first have nothing in common.
    if array.ndim != 2 or not array.shape[1] or (array.shape[1] == 1 and array.dtype != np.bool_):
        raise InputError(f"{name} are bool [n, L]; got {array.dtype} {list(array.shape)}: give a column for each class")
    return as_flags(array, name)


def label_tensor(labels: Numbers, count: int, classes: int | None = None) -> Tensor:
    """Labels [B, L] of a batch as bools, where they are; those that are bools are not looked at: it stalls a GPU.

    Args:
        labels: bools, or numbers that are all 0 or 1.
        count: B.
        classes: L, if it is known.

    Raises:
        InputError: they are not, or of another shape.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.bool:
        labels = as_tensor(label_flags(labels, "labels"), "labels").to(getattr(labels, "device", "cpu"))
    if labels.ndim != 2 or len(labels) != count or labels.shape[1] != (classes or labels.shape[1]):
        raise InputError(f"labels must be [{count}, {classes or 'L'}]; got {list(labels.shape)}")
    return labels


def whole_number(name: str, value: Any, least: int | None = 1, most: int | None = None) -> int:
    """One whole number, of Python, NumPy or PyTorch.

    Args:
        name: what messages call it.
        value: real numbers are none, nor are bools, texts, and arrays of one.
        least: the smallest that is taken.
        most: the largest; only beside a smallest.

    Raises:
        InputError: it is not, or out of range; the message has name, value and what is taken.
    """
    span = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
    try:
        if getattr(value, "ndim", 0) or isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        hint = f"; give {int(value)}" if isinstance(value, float) and value % 1 == 0 else ""
        raise InputError(f"{name} must be a whole number{span}; got {_shown(value)}{hint}") from None
    if (least is not None and number < least) or (most is not None and number > most):
        raise InputError(f"{name} must be{span.removeprefix(' of')}; got {number}")
    return number


def whole_numbers(name: str, values: Any, least: int | None = 1, most: int | None = None) -> list[int]:
    """Several whole numbers, or none; arguments and errors as for `whole_number`."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or not getattr(values, "ndim", 1):
        raise InputError(f"{name} must be a list of whole numbers; got {_shown(values)}: give [{_shown(values)}]")
    return [whole_number(name, value, least, most) for value in values]


def positive_number(name: str, value: Any) -> float:
    """A real number above 0, and not infinite.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise InputError(f"{name} must be a positive number; got {_shown(value)}")
    return float(value)


def one_of(name: str, value: Any, options: tuple[str, ...]) -> None:
    """Refuse what is none of the options.

    Raises:
        InputError: names them.
    """
    if not isinstance(value, str) or value not in options:
        raise InputError(f"{name} must be one of {', '.join(options)}; got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value in a message: on one line, and short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:50]}..."
