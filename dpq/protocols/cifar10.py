"""CIFAR-10 (Krizhevsky 2009) from the official archive, or from a folder or tar of its images."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpq.errors import InputError, one_line
from dpq.files.locks import file_lock
from dpq.files.places import is_file, is_folder, matching
from dpq.protocols.base import Dataset, Images, Split, draw_splits, seeded_order
from dpq.protocols.image_tree import kept_fingerprint, read_image_tree

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FOLDER, _ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"  # torchvision's names, without importing it
_TREE = re.compile(r"(cifar10-[\w.-]*?)(\.tar(\.gz|\.xz)?)?", re.ASCII)  # what a folder or tar of images is called


@dataclass(frozen=True)
class Cifar10Sizes:
    """Images per class."""

    query: int = 100  # drawn as queries
    train: int = 500  # drawn for training; the rest is the database
    # what the source must hold in each of its own splits, exactly
    per_split: Mapping[str, int] = field(default_factory=lambda: {"train": 5000, "test": 1000})


CIFAR10_SIZES = Cifar10Sizes()


@dataclass(frozen=True)
class _Source:
    """Images as found."""

    name: str  # what the images are, for the records
    images: Images  # [N, 3, 32, 32] uint8, RGB
    groups: Sequence[str]  # N times `<split>/<class>`; the draw counts within a group, in this order


def load_cifar10(
    data_root: Path | None, cache: Path, split_seed: int = 0, sizes: Cifar10Sizes = CIFAR10_SIZES
) -> Dataset:
    """CIFAR-10 with 100 queries and 500 training images of every class; the other 54,000 are the database.

    The draw depends on `<split>/<class>/<position in the class>` alone, so a folder and a tar give the same data.

    Args:
        data_root: searched for the official folder or archive, then for one folder `cifar10-<variant>/` or tar
            `cifar10-<variant>.tar` (`.gz`, `.xz`) with `<split>/<class>/<file>`; or is itself one of these. None
            downloads the official archive.
        cache: folder for the download, the unpacked official archive and decoded images.
        split_seed: seed of the draw.
        sizes: images per class.

    Returns:
        The data set, named `cifar10` (official), `cifar10-<variant>` as its folder or tar is, or `cifar10-folder`;
        with `-jpeg` behind it where the files are JPEG and the name does not say so. Its database is in an order drawn
        by the seed.

    Raises:
        InputError: nothing is found, or what is found is damaged, incomplete or not CIFAR-10.
    """
    source = _download(cache) if data_root is None else _search(data_root, cache)
    keys = _keys(source.groups, sizes, data_root or cache)
    class_of = [CLASSES.index(group.partition("/")[2]) for group in source.groups]
    train, query, database = draw_splits(
        source.images,
        class_of,
        keys,
        len(CLASSES),
        query=sizes.query,
        train=sizes.train,
        seed=split_seed,
    )
    # As drawn, it would begin with images of the classes whose queries and training images are complete first.
    database = database.take(torch.tensor(seeded_order([str(i) for i in range(len(database))], split_seed)))
    known = kept_fingerprint(cache, train, query, database)
    # What is read again and again is copied from the map; the database stays there, shared by all processes.
    train, query = (Split(part.images[:], part.labels) for part in (train, query))
    return Dataset("cifar10", source.name, CLASSES, train, query, database, known)


def _keys(groups: Sequence[str], sizes: Cifar10Sizes, root: Path) -> list[str]:
    """`<group>/<ordinal>` of every image, after checking that each group has the images it must have."""
    needed = Counter({f"{split}/{name}": needs for split, needs in sizes.per_split.items() for name in CLASSES})
    found = Counter(groups)
    for group in (*needed, *found):
        if found[group] != needed[group]:
            raise InputError(
                f"{root}: {group!r} has {found[group]} images, CIFAR-10 has {needed[group]} there; complete the data"
            )
    ordinals: defaultdict[str, Iterator[int]] = defaultdict(count)
    return [f"{group}/{next(ordinals[group]):04d}" for group in groups]


def _search(data_root: Path, cache: Path) -> _Source:
    if data_root.name == _FOLDER and is_folder(data_root):
        return _official_folder(data_root.parent)
    if is_folder(data_root / _FOLDER):
        return _official_folder(data_root)
    for archive in (data_root / _ARCHIVE, data_root):
        if archive.name == _ARCHIVE and is_file(archive):
            return _official_archive(archive, cache)
    trees = [tree for tree in matching(data_root, "cifar10-*") if _TREE.fullmatch(tree.name)]
    if len(trees) > 1:
        raise InputError(
            f"{data_root} has {', '.join(tree.name for tree in trees)}; name one of them as the data root", "data_root"
        )
    if trees:
        return _image_tree(trees[0], cache)
    if is_file(data_root) or (is_folder(data_root / "train") and is_folder(data_root / "test")):
        return _image_tree(data_root, cache)
    raise InputError(
        f"no CIFAR-10 in {data_root}: looked for {_FOLDER}/, {_ARCHIVE}, cifar10-<variant>/, cifar10-<variant>.tar "
        "(.gz, .xz), and train/ with test/; correct the data root",
        "data_root",
    )


def _image_tree(path: Path, cache: Path) -> _Source:
    tree = read_image_tree(path, (32, 32), cache)
    called = _TREE.fullmatch(path.resolve().name)
    name = called[1] if called else "cifar10-folder" if tree.formats != ("JPEG",) else "cifar10"
    name += "-jpeg" if tree.formats == ("JPEG",) and "jpeg" not in name else ""
    return _Source(name, tree.selectable(), [name.rpartition("/")[0] for name in tree.names])


def _official_folder(root: Path) -> _Source:
    """The batches in `root`, which torchvision checks against their MD5 before it unpickles them."""
    from torchvision.datasets import CIFAR10

    try:
        batches: list[tuple[str, Any]] = [("train", CIFAR10(root, train=True)), ("test", CIFAR10(root, train=False))]
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{root / _FOLDER} is incomplete or altered (MD5); delete it and give the official {_ARCHIVE}"
        ) from error
    pixels = np.concatenate([batch.data for _, batch in batches])  # [N, 32, 32, 3]
    groups = [f"{split}/{batch.classes[target]}" for split, batch in batches for target in batch.targets]
    return _Source("cifar10", torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), groups)


def _official_archive(archive: Path, cache: Path) -> _Source:
    """The archive's batches, unpacked into the cache once its MD5 is right."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(archive, CIFAR10.tgz_md5):
        raise InputError(f"{archive} is truncated or altered: its MD5 is not {CIFAR10.tgz_md5}; get it again")
    with suppress(InputError):
        return _official_folder(cache)
    if not hasattr(tarfile, "data_filter"):  # what keeps members inside their folder
        raise InputError(f"Python before 3.11.4 cannot unpack {archive} safely; use a newer one, or unpack it yourself")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fresh, lock = cache / f"{_FOLDER}.partial", cache / f"{_FOLDER}.lock"
        with file_lock(lock):
            with suppress(InputError):  # another process has been faster
                return _official_folder(cache)
            shutil.rmtree(fresh, ignore_errors=True)  # what a killed process left
            with tarfile.open(archive) as packed:
                packed.extractall(fresh, filter="data")
            shutil.rmtree(cache / _FOLDER, ignore_errors=True)
            os.replace(fresh / _FOLDER, cache / _FOLDER)
            shutil.rmtree(fresh, ignore_errors=True)
        lock.unlink(missing_ok=True)  # whoever still waits for it finds the folder
    except OSError as error:
        raise InputError(
            f"cannot unpack {archive} into {cache} ({error.strerror}); set DPQ_CACHE to a folder that can be written"
        ) from error
    return _official_folder(cache)


def _download(cache: Path) -> _Source:
    """The official archive by torchvision's own download with its MD5 check; none where the cache has it unpacked."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_url

    with suppress(InputError):
        return _official_folder(cache)
    try:
        download_url(CIFAR10.url, cache, CIFAR10.filename, CIFAR10.tgz_md5)
    except (OSError, HTTPException, RuntimeError) as error:
        raise InputError(
            f"cannot download CIFAR-10 into {cache} ({one_line(error)}): go online, or give as data root a folder with "
            f"the official {_ARCHIVE} or with cifar10-<variant>/<split>/<class>/<file>",
            "data_root",
        ) from error
    return _official_archive(cache / _ARCHIVE, cache)
