"""Data protocols by name. A new one is a file beside this and a line in `PROTOCOLS`, or in `listed.LISTINGS`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import platformdirs

from dpq.errors import InputError
from dpq.protocols.base import Dataset, ReadOptions, Split
from dpq.protocols.cifar10 import load_cifar10
from dpq.protocols.cifar10_unseen import load_cifar10_unseen
from dpq.protocols.digits import load_digits_protocol
from dpq.protocols.folder import load_folder
from dpq.protocols.listed import LISTINGS, load_listed

__all__ = ["PROTOCOLS", "Dataset", "ReadOptions", "Split", "load_protocol"]


def _published(name: str, data_root: Path | None, cache: Path, options: ReadOptions, split_seed: int) -> Dataset:
    if split_seed != 0:
        raise InputError(f"{name} has one split, that of its published lists; its split seed is 0, got {split_seed}")
    return load_listed(name, data_root, cache, options)


PROTOCOLS: dict[str, Callable[[Path | None, Path, ReadOptions, int], Dataset]] = {
    "digits": lambda data_root, cache, options, split_seed: load_digits_protocol(split_seed),
    "cifar10": lambda data_root, cache, options, split_seed: load_cifar10(data_root, cache, split_seed),
    "cifar10-unseen": lambda data_root, cache, options, split_seed: load_cifar10_unseen(data_root, cache, split_seed),
    **{name: partial(_published, name) for name in LISTINGS},
    "folder": load_folder,
}


def load_protocol(
    name: str,
    data_root: Path | None = None,
    cache: Path | None = None,
    options: ReadOptions | None = None,
    split_seed: int = 0,
) -> Dataset:
    """Loads the splits of a protocol; a split seed is one draw, so every caller gets the same images.

    Args:
        name: a key of `PROTOCOLS`.
        data_root: where the images are; `digits` needs none, CIFAR-10 is downloaded without one.
        cache: folder for downloads and decoded pixels. None takes the environment's `DPQ_CACHE`, or else
            the user's cache folder.
        options: for images that come in sizes of their own, how they are read.
        split_seed: of the draw, or which class split; 0 where the splits are published or given.

    Returns:
        The data set.

    Raises:
        InputError: no such protocol or split, or its data are missing or unusable.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    if cache is None:
        chosen = os.environ.get("DPQ_CACHE")
        cache = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("dpq")
    return PROTOCOLS[name](data_root, cache, options or ReadOptions(), split_seed)
