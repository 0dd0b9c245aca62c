"""Labels in whatever form a caller has them, as one boolean matrix with a name a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpq.errors import InputError

LabelInput: TypeAlias = "Sequence[str] | Sequence[int] | npt.NDArray[Any] | Tensor"


@dataclass(frozen=True)
class Labels:
    """What images are of.

    Attributes:
        classes: L names, in the order of the columns.
        matrix: [N, L] bool.
    """

    classes: tuple[str, ...]
    matrix: Tensor

    @property
    def several(self) -> bool:
        """Whether an image has more than one label."""
        return bool((self.matrix.sum(dim=1) > 1).any())


def read_labels(labels: LabelInput, classes: Sequence[str] | None = None) -> Labels:
    """The classes and the matrix that labels stand for.

    Args:
        labels: N class names; N integers; or a boolean matrix [N, L], for images with several labels.
        classes: names of the columns. Class names must be among them, integers count them from 0. Without it the
            classes are the different labels, sorted; columns of a matrix are called by their number.

    Raises:
        InputError: labels of another form; fewer than two classes; an image without label, or a label without class.
    """
    classes = None if classes is None else tuple(map(str, classes))
    array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if array.dtype == np.bool_ and array.ndim == 2:
        found = _from_matrix(array, classes)
    elif array.ndim == 1 and array.dtype.kind in "iu":
        found = _from_integers(array, classes)
    elif array.ndim == 1 and array.dtype.kind in "UO" and all(isinstance(label, str) for label in array.tolist()):
        found = _from_names(array.tolist(), classes)
    else:
        raise InputError(
            f"labels are class names, integers or a boolean matrix [N, L]; got {array.dtype} {list(array.shape)}"
        )
    if len(found.classes) < 2 or len(set(found.classes)) < len(found.classes):
        raise InputError(f"training tells at least two classes of different names apart; got {_few(found.classes)}")
    if any("\ud800" <= letter <= "\udfff" for name in found.classes for letter in name):
        raise InputError(f"class names must be texts that UTF-8 can hold; got {_few(found.classes)}")
    unlabelled = torch.nonzero(~found.matrix.any(dim=1)).flatten()
    if len(unlabelled):
        raise InputError(
            f"{len(unlabelled)} images have no label, the first is image {int(unlabelled[0])}; leave them out"
        )
    return found


def _from_matrix(matrix: npt.NDArray[np.bool_], classes: Sequence[str] | None) -> Labels:
    names = tuple(map(str, range(matrix.shape[1]) if classes is None else classes))
    if len(names) != matrix.shape[1]:
        raise InputError(f"the label matrix has {matrix.shape[1]} columns, but there are {len(names)} classes")
    return Labels(names, torch.from_numpy(matrix.copy()))


def _from_integers(numbers: npt.NDArray[Any], classes: Sequence[str] | None) -> Labels:
    if classes is None:
        present, columns = np.unique(numbers, return_inverse=True)
        return _one_each(tuple(map(str, present.tolist())), columns)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(classes):
        raise InputError(
            f"integer labels of {len(classes)} classes are 0 to {len(classes) - 1}; "
            f"got {numbers.min()} to {numbers.max()}"
        )
    return _one_each(tuple(classes), numbers)


def _from_names(labels: list[str], classes: Sequence[str] | None) -> Labels:
    names = tuple(sorted(set(labels)) if classes is None else classes)
    column = {name: index for index, name in enumerate(names)}
    unknown = sorted(set(labels) - column.keys())
    if unknown:
        raise InputError(f"label {unknown[0]!r} is none of the classes {_few(names)}")
    return _one_each(names, np.array([column[label] for label in labels], dtype=np.int64))


def _one_each(classes: tuple[str, ...], columns: npt.NDArray[Any]) -> Labels:
    matrix = torch.zeros(len(columns), len(classes), dtype=torch.bool)
    matrix[torch.arange(len(columns)), torch.from_numpy(columns.astype(np.int64))] = True
    return Labels(classes, matrix)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "") if names else "none"
