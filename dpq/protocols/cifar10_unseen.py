"""CIFAR-10 with queries of classes that training has not seen (Sablayrolles et al., ICASSP 2017).

The images are drawn as for `cifar10`, once for all; the split seed chooses the classes. Ten classes hold three disjoint
triples, so three class splits hold out every class but one once, and that one never.
"""

from __future__ import annotations

from pathlib import Path

import torch

from dpq.errors import InputError
from dpq.protocols.base import Dataset, Split, fingerprint, seeded_order
from dpq.protocols.cifar10 import CIFAR10_SIZES, CLASSES, Cifar10Sizes, load_cifar10

HELD_OUT = 3
SPLITS = len(CLASSES) // HELD_OUT


def unseen_classes(split_seed: int) -> tuple[str, ...]:
    """The classes that a split holds out, in the order of `cifar10.CLASSES`.

    Raises:
        InputError: there is no such split.
    """
    if not 0 <= split_seed < SPLITS:
        raise InputError(f"cifar10-unseen has the class splits 0 to {SPLITS - 1}; got {split_seed}")
    order = seeded_order(CLASSES, 0)
    return tuple(CLASSES[c] for c in sorted(order[split_seed * HELD_OUT : (split_seed + 1) * HELD_OUT]))


def load_cifar10_unseen(
    data_root: Path | None, cache: Path, split_seed: int = 0, sizes: Cifar10Sizes = CIFAR10_SIZES
) -> Dataset:
    """The 3,500 training images of seven classes, and of the three others 300 queries and a database of 17,700.

    Training images and queries are those of `cifar10` that have such a class; the database is all other images of the
    unseen classes.

    Args:
        data_root: as for `load_cifar10`.
        cache: as for `load_cifar10`.
        split_seed: which class split.
        sizes: images per class.

    Returns:
        The data set. Label columns are the seen classes in the training split, the unseen ones in the others. Its
        `facts` name both, and the fingerprint of all images, which the class splits have in common.

    Raises:
        InputError: no such class split; or as for `load_cifar10`.
    """
    unseen = unseen_classes(split_seed)
    seen = tuple(name for name in CLASSES if name not in unseen)
    whole = load_cifar10(data_root, cache, sizes=sizes)
    train, query = _of_classes(whole.train, seen), _of_classes(whole.query, unseen)
    parts = [_of_classes(split, unseen) for split in (whole.database, whole.train)]
    database = Split(torch.cat([part.images[:] for part in parts]), torch.cat([part.labels for part in parts]))
    return Dataset(
        "cifar10-unseen",
        whole.name,
        seen,
        train,
        query,
        database,
        fingerprint(train, query, database),
        whole.cut,
        whole.denominator,
        facts={"seen": list(seen), "unseen": list(unseen), "fingerprint_of_all": whole.fingerprint},
        unseen=True,
    )


def _of_classes(split: Split, names: tuple[str, ...]) -> Split:
    """The images of some classes in the order of the split, with their label columns alone."""
    columns = [CLASSES.index(name) for name in names]
    part = split.take(torch.nonzero(split.labels[:, columns].any(dim=1)).flatten())
    return Split(part.images, part.labels[:, columns])
