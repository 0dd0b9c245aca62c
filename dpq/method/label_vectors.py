"""Label vectors of the adaptive margin: word vectors from a file, or orthonormal ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpq.errors import InputError, ignored, one_line
from dpq.files.json import read_text
from dpq.inputs.values import whole_number
from dpq.seeds import derive_seed

MOST_BYTES = 64 << 20  # of a file; 1,000 vectors of 300 numbers have 8 MB


def read_label_vectors(path: Path, classes: int, dim: int) -> Tensor:
    """Word vectors from a text file with one row of numbers a class, in the order of the label columns.

    Returns:
        [classes, dim] float32.

    Raises:
        InputError: unreadable, of another shape, not finite, or with a zero row (its direction is undefined).
    """
    try:
        lines = read_text(path, MOST_BYTES).removeprefix("\ufeff").splitlines()
        with ignored():  # about a file without numbers, whose shape is refused below
            vectors = np.loadtxt(lines, dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read label vectors from {path}: {one_line(error)}") from error
    if vectors.shape != (classes, dim):
        raise InputError(
            f"{path} holds {vectors.shape[0]} vectors of {vectors.shape[1]} numbers; "
            f"expected {classes} rows (one per class) of {dim} (the embedding dimension)"
        )
    if not np.isfinite(vectors).all() or not np.abs(vectors).sum(axis=1).all():
        raise InputError(f"{path} has a row of zeros or a number that is not finite; every class needs a direction")
    return torch.from_numpy(vectors)


def orthonormal_label_vectors(classes: int, dim: int) -> Tensor:
    """Fixed orthonormal vectors, the same for every seed: all margins become 1.

    Returns:
        [classes, dim] float32.

    Raises:
        InputError: more classes than dimensions.
    """
    classes, dim = whole_number("classes", classes, 0), whole_number("dim", dim)
    if classes > dim:
        raise InputError(f"{classes} classes do not fit {dim} orthogonal directions; raise the embedding dimension")
    generator = torch.Generator().manual_seed(derive_seed(0, "label vectors"))
    directions: Tensor = torch.linalg.qr(torch.randn(dim, classes, generator=generator)).Q
    return directions.T.contiguous()
