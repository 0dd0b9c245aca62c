"""What holds of the tensors of every file of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that no network can use.

    Raises:
        ValueError: a floating-point tensor holds NaN, infinity or a number beyond float32; names it.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise ValueError(f"{name} holds NaN or infinity")


def check_weights(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no weights, whatever network they are for.

    Raises:
        ValueError: there are none, or one is empty, complex, sparse or quantized, a variance below zero, or not finite;
            names it.
    """
    if not tensors:
        raise ValueError("it holds no tensors")
    for name, value in tensors.items():
        if value.is_complex():
            raise ValueError(f"{name} holds complex numbers")
        if value.layout != torch.strided or value.is_quantized:
            raise ValueError(f"{name} is sparse or quantized, no plain tensor")
        if not value.numel():
            raise ValueError(f"{name} is empty")
        if name.endswith("running_var") and (value.float() < 0).any():
            raise ValueError(f"{name} holds variances below zero")
    check_finite(tensors)
