"""Deep Progressive Quantization for image retrieval: train once, read codes of every length."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dpq.version import __version__

if TYPE_CHECKING:
    from dpq.codes.estimator import ProgressiveQuantizerEstimator
    from dpq.errors import InputError
    from dpq.method.api import DPQ
    from dpq.method.config import DPQConfig
    from dpq.method.quantizer import ProgressiveQuantizer
    from dpq.search.index import CodeIndex

# Loaded when first asked for: PyTorch takes seconds, in which the command line could not answer Ctrl-C.
_HOMES = {
    "CodeIndex": "dpq.search.index",
    "DPQ": "dpq.method.api",
    "DPQConfig": "dpq.method.config",
    "InputError": "dpq.errors",
    "ProgressiveQuantizer": "dpq.method.quantizer",
    "ProgressiveQuantizerEstimator": "dpq.codes.estimator",
}

__all__ = [
    "DPQ",
    "CodeIndex",
    "DPQConfig",
    "InputError",
    "ProgressiveQuantizer",
    "ProgressiveQuantizerEstimator",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dpq' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
