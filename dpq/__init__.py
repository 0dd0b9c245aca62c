"""Deep Progressive Quantization for image retrieval: train once, read codes of every length."""

from dpq.api import DPQ
from dpq.config import DPQConfig
from dpq.errors import InputError
from dpq.quantizers import ProgressiveQuantizer
from dpq.version import __version__

__all__ = ["DPQ", "DPQConfig", "InputError", "ProgressiveQuantizer", "__version__"]
