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
