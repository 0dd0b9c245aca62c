"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official archive, or from a folder or tar of its images."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpq.errors import InputError, one_line
from dpq.files.locks import file_lock
from dpq.files.places import is_file, is_folder, matching
from dpq.protocols.base import Dataset, Images, Split, draw_splits, seeded_order, take_images
from dpq.protocols.image_tree import kept_fingerprint, read_image_tree
from dpq.protocols.store.read import MappedImages


@dataclass(frozen=True)
class CifarSet:
    """A data set, and what protocols take of it."""

    name: str  # of the protocol, and of the official images; those of a variant are called `<name>-<variant>`
    title: str
    folder: str  # torchvision's names of folder and archive, without importing it
    archive: str
    classes: tuple[str, ...]  # in the official order
    query: int  # images per class that are drawn as queries
    train: int  # those drawn for training; the rest is the database
    per_split: Mapping[str, int]  # images per class that the source must hold in each of its own splits, exactly
    held_out: int  # classes that training does not see where others are searched
    class_splits: int  # ways to hold them out
    coarse: tuple[str, ...] = ()  # of each class, the coarse class that it belongs to

    @property
    def official(self) -> Any:
        """Torchvision's class."""
        import torchvision.datasets

        return getattr(torchvision.datasets, self.name.upper())

    @property
    def tree(self) -> re.Pattern[str]:
        """What a folder or tar of images is called."""
        return re.compile(rf"({self.name}-[\w.-]*?)(\.tar(\.gz|\.xz)?)?", re.ASCII)


_COARSE = {  # coarse classes of CIFAR-100 and the classes in each, as its archive has them
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
_COARSE_OF = {name: coarse for coarse, names in _COARSE.items() for name in names.split()}

CIFAR10 = CifarSet(
    "cifar10",
    "CIFAR-10",
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    query=100,
    train=500,
    per_split={"train": 5000, "test": 1000},
    held_out=3,
    class_splits=3,
)
CIFAR100 = CifarSet(
    "cifar100",
    "CIFAR-100",
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    tuple(sorted(_COARSE_OF)),
    query=10,
    train=100,
    per_split={"train": 500, "test": 100},
    held_out=25,
    class_splits=5,
    coarse=tuple(_COARSE_OF[name] for name in sorted(_COARSE_OF)),
)
SETS = {kind.name: kind for kind in (CIFAR10, CIFAR100)}

# Images of a known variant that lack their original pixels, by class: they are decoded from JPEG re-encodings.
RE_ENCODED = {"cifar10-restored": {"horse": 6, "ship": 105}}


@dataclass(frozen=True)
class _Source:
    """Images as found."""

    name: str  # what the images are, for the records
    images: Images  # [N, 3, 32, 32] uint8, RGB
    groups: Sequence[str]  # N times `<split>/<class>`; the draw counts within a group, in this order
    names: Sequence[str]  # paths; of the official batches `<split>/<position>`, as torchvision counts them


def load_cifar(kind: CifarSet, data_root: Path | None, cache: Path, split_seed: int = 0) -> Dataset:
    """So many queries and training images of every class; the other images are the database.

    CIFAR-10 gives 100 and 500 of a class, and a database of 54,000; CIFAR-100 gives 10 and 100, and 48,974, as 26 of
    its images are copies of others. Of images with the same pixels one stays, the first by
    `<split>/<class>/<position in the class>`, even where the others have another class: or a query would be looked for
    in its own copy. The draw depends on these names alone, so a folder and a tar give the same data.

    Args:
        kind: `CIFAR10` or `CIFAR100`.
        data_root: searched for the official folder or archive, then for one folder `<name>-<variant>/` or tar
            `<name>-<variant>.tar` (`.gz`, `.xz`) with `<split>/<class>/<file>`; or is itself one of these. None
            downloads the official archive.
        cache: folder for the download, the unpacked official archive and decoded images.
        split_seed: seed of the draw.

    Returns:
        The data set, named as the set (official), `<name>-<variant>` as its folder or tar is, or `<name>-folder`;
        with `-jpeg` behind it where the files are JPEG and the name does not say so. Its database is in an order drawn
        by the seed. Its `facts` count the copies and the images that are known to be re-encoded, where there are any,
        and name the coarse class of each class.

    Raises:
        InputError: nothing is found, or what is found is damaged, incomplete or another set.
    """
    source = _download(kind, cache) if data_root is None else _search(kind, data_root, cache)
    keys = _keys(kind, source.groups, data_root or cache)
    kept = _different(source.images, keys)
    train, query, database = draw_splits(
        take_images(source.images, torch.tensor(kept)),
        [kind.classes.index(source.groups[i].partition("/")[2]) for i in kept],
        [keys[i] for i in kept],
        len(kind.classes),
        query=kind.query,
        train=kind.train,
        seed=split_seed,
        names=[source.names[i] for i in kept],
    )
    # As drawn, it would begin with images of the classes whose queries and training images are complete first.
    database = database.take(torch.tensor(seeded_order([str(i) for i in range(len(database))], split_seed)))
    left_out = len(keys) - len(kept)
    facts: dict[str, Any] = {"copies_left_out": left_out} if left_out else {}
    if source.name in RE_ENCODED:
        facts["re_encoded"] = RE_ENCODED[source.name]
    if kind.coarse:
        facts["coarse"] = list(kind.coarse)
    known = kept_fingerprint(cache, train, query, database)
    # What is read again and again is copied from the map; the database stays there, shared by all processes.
    train, query = (Split(part.images[:], part.labels, part.names) for part in (train, query))
    return Dataset(kind.name, source.name, kind.classes, train, query, database, known, facts=facts)


def _keys(kind: CifarSet, groups: Sequence[str], root: Path) -> list[str]:
    """`<group>/<ordinal>` of every image, after checking that each group has the images it must have."""
    needed = Counter({f"{split}/{name}": needs for split, needs in kind.per_split.items() for name in kind.classes})
    found = Counter(groups)
    for group in (*needed, *found):
        if found[group] != needed[group]:
            raise InputError(
                f"{root}: {group!r} has {found[group]} images, {kind.title} has {needed[group]} there; "
                "complete the data"
            )
    ordinals: defaultdict[str, Iterator[int]] = defaultdict(count)
    return [f"{group}/{next(ordinals[group]):04d}" for group in groups]


def _different(images: Images, keys: Sequence[str]) -> list[int]:
    """Positions of the images without those whose pixels an image with an earlier key has."""
    if isinstance(images, MappedImages):  # of a whole tree
        digests = images.digests
    else:
        digests = [hashlib.sha256(image.contiguous().numpy().data).hexdigest() for image in images[:]]
    first: dict[str, int] = {}
    for i in sorted(range(len(keys)), key=keys.__getitem__):
        first.setdefault(digests[i], i)
    return sorted(first.values())


def _search(kind: CifarSet, data_root: Path, cache: Path) -> _Source:
    if data_root.name == kind.folder and is_folder(data_root):
        return _official_folder(kind, data_root.parent)
    if is_folder(data_root / kind.folder):
        return _official_folder(kind, data_root)
    for archive in (data_root / kind.archive, data_root):
        if archive.name == kind.archive and is_file(archive):
            return _official_archive(kind, archive, cache)
    trees = [tree for tree in matching(data_root, f"{kind.name}-*") if kind.tree.fullmatch(tree.name)]
    if len(trees) > 1:
        raise InputError(
            f"{data_root} has {', '.join(tree.name for tree in trees)}; name one of them as the data root", "data_root"
        )
    if trees:
        return _image_tree(kind, trees[0], cache)
    if is_file(data_root) or (is_folder(data_root / "train") and is_folder(data_root / "test")):
        return _image_tree(kind, data_root, cache)
    raise InputError(
        f"no {kind.title} in {data_root}: looked for {kind.folder}/, {kind.archive}, {kind.name}-<variant>/, "
        f"{kind.name}-<variant>.tar (.gz, .xz), and train/ with test/; correct the data root",
        "data_root",
    )


def _image_tree(kind: CifarSet, path: Path, cache: Path) -> _Source:
    tree = read_image_tree(path, (32, 32), cache)
    called = kind.tree.fullmatch(path.resolve().name)
    name = called[1] if called else f"{kind.name}-folder" if tree.formats != ("JPEG",) else kind.name
    name += "-jpeg" if tree.formats == ("JPEG",) and "jpeg" not in name else ""
    return _Source(name, tree.selectable(), [name.rpartition("/")[0] for name in tree.names], tree.names)


def _official_folder(kind: CifarSet, root: Path) -> _Source:
    """The batches in `root`, which torchvision checks against their MD5 before it unpickles them."""
    try:
        batches = [(split, kind.official(root, train=split == "train")) for split in kind.per_split]
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{root / kind.folder} is incomplete or altered (MD5); delete it and give the official {kind.archive}"
        ) from error
    pixels = np.concatenate([batch.data for _, batch in batches])  # [N, 32, 32, 3]
    groups = [f"{split}/{batch.classes[target]}" for split, batch in batches for target in batch.targets]
    names = [f"{split}/{i}" for split, batch in batches for i in range(len(batch.targets))]
    return _Source(kind.name, torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), groups, names)


def _official_archive(kind: CifarSet, archive: Path, cache: Path) -> _Source:
    """The archive's batches, unpacked into the cache once its MD5 is right."""
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(archive, kind.official.tgz_md5):
        raise InputError(f"{archive} is truncated or altered: its MD5 is not {kind.official.tgz_md5}; get it again")
    with suppress(InputError):
        return _official_folder(kind, cache)
    if not hasattr(tarfile, "data_filter"):  # what keeps members inside their folder
        raise InputError(f"Python before 3.11.4 cannot unpack {archive} safely; use a newer one, or unpack it yourself")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fresh, lock = cache / f"{kind.folder}.partial", cache / f"{kind.folder}.lock"
        with file_lock(lock):
            with suppress(InputError):  # another process has been faster
                return _official_folder(kind, cache)
            shutil.rmtree(fresh, ignore_errors=True)  # what a killed process left
            with tarfile.open(archive) as packed:
                packed.extractall(fresh, filter="data")
            shutil.rmtree(cache / kind.folder, ignore_errors=True)
            os.replace(fresh / kind.folder, cache / kind.folder)
            shutil.rmtree(fresh, ignore_errors=True)
        lock.unlink(missing_ok=True)  # whoever still waits for it finds the folder
    except OSError as error:
        raise InputError(
            f"cannot unpack {archive} into {cache} ({error.strerror}); set DPQ_CACHE to a folder that can be written"
        ) from error
    return _official_folder(kind, cache)


def _download(kind: CifarSet, cache: Path) -> _Source:
    """The official archive by torchvision's own download with its MD5 check; none where the cache has it unpacked."""
    from torchvision.datasets.utils import download_url

    with suppress(InputError):
        return _official_folder(kind, cache)
    try:
        download_url(kind.official.url, cache, kind.official.filename, kind.official.tgz_md5)
    except (OSError, HTTPException, RuntimeError) as error:
        raise InputError(
            f"cannot download {kind.title} into {cache} ({one_line(error)}): go online, or give as data root a folder "
            f"with the official {kind.archive} or with {kind.name}-<variant>/<split>/<class>/<file>",
            "data_root",
        ) from error
    return _official_archive(kind, cache / kind.archive, cache)
