"""Data protocols by name. A new one is a file beside this and a line in `PROTOCOLS`.

One of published lists has a line in `LISTINGS` too. A protocol's file is imported when it is loaded, so that
the names are there without PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dpq.errors import InputError

if TYPE_CHECKING:
    from dpq.protocols.base import Dataset, ReadOptions, Split

_Cache: TypeAlias = Callable[[], Path]  # called by the protocols that keep something: the others need no such folder

__all__ = ["PROTOCOLS", "Dataset", "ReadOptions", "Split", "load_protocol"]


def __getattr__(name: str) -> Any:
    if name not in ("Dataset", "ReadOptions", "Split"):
        raise AttributeError(f"module 'dpq.protocols' has no attribute {name!r}")
    return getattr(_file("base"), name)


def _file(name: str) -> Any:
    """The module of this name, beside this one."""
    return import_module(f"{__name__}.{name}")


def _published(name: str, data_root: Path | None, cache: _Cache, options: ReadOptions, split_seed: int) -> Dataset:
    if split_seed != 0:
        raise InputError(f"{name} has one split, that of its published lists; its split seed is 0, got {split_seed}")
    dataset: Dataset = _file("listed.load").load_listed(name, data_root, cache(), options)
    return dataset


def _cifar(name: str, data_root: Path | None, cache: _Cache, options: ReadOptions, split_seed: int) -> Dataset:
    cifar = _file("cifar")
    dataset: Dataset = cifar.load_cifar(cifar.SETS[name], data_root, cache(), split_seed)
    return dataset


def _cifar_unseen(name: str, data_root: Path | None, cache: _Cache, options: ReadOptions, split_seed: int) -> Dataset:
    kind = _file("cifar").SETS[name]
    dataset: Dataset = _file("cifar_unseen").load_cifar_unseen(kind, data_root, cache(), split_seed)
    return dataset


PROTOCOLS: dict[str, Callable[[Path | None, _Cache, ReadOptions, int], Dataset]] = {
    "digits": lambda root, cache, options, seed: _file("digits").load_digits_protocol(seed),
    "cifar10": partial(_cifar, "cifar10"),
    "cifar10-unseen": partial(_cifar_unseen, "cifar10"),
    "cifar100": partial(_cifar, "cifar100"),
    "cifar100-unseen": partial(_cifar_unseen, "cifar100"),
    **{name: partial(_published, name) for name in ("nuswide21", "imagenet100", "imagenet100-hashnet")},
    "folder": lambda root, cache, options, seed: _file("folder.load").load_folder(root, cache(), options, seed),
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
        data_root: where the images are; `digits` needs none, CIFAR is downloaded without one.
        cache: folder for downloads and decoded pixels. None takes the environment's `DPQ_CACHE`, or else
            the user's cache folder.
        options: for images that come in sizes of their own, how they are read.
        split_seed: of the draw, or which class split; 0 where the splits are published or given.

    Returns:
        The data set.

    Raises:
        InputError: no such protocol or split, its data are missing or unusable, or it needs a cache and there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    found = _users_cache if cache is None else lambda: cache
    return PROTOCOLS[name](data_root, found, options or _file("base").ReadOptions(), split_seed)


def _users_cache() -> Path:
    import platformdirs

    chosen = os.environ.get("DPQ_CACHE")
    try:
        return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("dpq")
    except RuntimeError as error:  # no HOME, and a user without an entry among the accounts
        raise InputError("no home folder for a cache; set DPQ_CACHE to a folder that can be written") from error
