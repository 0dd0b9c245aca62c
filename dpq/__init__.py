"""Deep Progressive Quantization for image retrieval: train once, read codes of every length."""

from dpq.config import DPQConfig
from dpq.errors import InputError
from dpq.model import DPQ
from dpq.quantizers import ProgressiveQuantizer
from dpq.version import __version__

__all__ = ["DPQ", "DPQConfig", "InputError", "ProgressiveQuantizer", "__version__"]
