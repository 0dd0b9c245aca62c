"""Data protocols by name. A new one is a file beside this and a line in `PROTOCOLS`, or in `listed.LISTINGS`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import platformdirs

from dpq.errors import InputError
from dpq.protocols.base import Dataset, Split
from dpq.protocols.cifar10 import load_cifar10
from dpq.protocols.digits import load_digits_protocol
from dpq.protocols.listed import LISTINGS, load_listed
from dpq.protocols.options import ReadOptions

__all__ = ["PROTOCOLS", "Dataset", "ReadOptions", "Split", "load_protocol"]

PROTOCOLS: dict[str, Callable[[Path | None, Path, ReadOptions], Dataset]] = {
    "digits": lambda data_root, cache, options: load_digits_protocol(),
    "cifar10": lambda data_root, cache, options: load_cifar10(data_root, cache),
    **{name: partial(load_listed, name) for name in LISTINGS},
}


def load_protocol(
    name: str, data_root: Path | None = None, cache: Path | None = None, options: ReadOptions | None = None
) -> Dataset:
    """Loads the splits of a protocol; the draw is fixed, so every caller gets the same images.

    Args:
        name: a key of `PROTOCOLS`.
        data_root: where the images are; `digits` needs none, `cifar10` downloads without one.
        cache: folder for downloads and decoded pixels. None takes the environment's `DPQ_CACHE`, or else
            the user's cache folder.
        options: for protocols of published lists, how the copy is read.

    Returns:
        The data set.

    Raises:
        InputError: no such protocol, or its data are missing or unusable.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    if cache is None:
        chosen = os.environ.get("DPQ_CACHE")
        cache = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("dpq")
    return PROTOCOLS[name](data_root, cache, options or ReadOptions())
