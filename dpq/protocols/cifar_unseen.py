"""CIFAR with queries of classes that training has not seen (Sablayrolles et al., ICASSP 2017).

The images are drawn as for `cifar10` and `cifar100`, once for all; the split seed chooses the classes. An order of the
classes is cut into disjoint parts, one for each split. Ten classes hold three triples: every class but one is held out
once, and that one never. A hundred hold four times 25; the fifth split is the first part of another order.
"""

from __future__ import annotations

from pathlib import Path

import torch

from dpq.errors import InputError
from dpq.protocols.base import Dataset, Split, fingerprint, seeded_order
from dpq.protocols.cifar import CifarSet, load_cifar


def unseen_classes(kind: CifarSet, split_seed: int) -> tuple[str, ...]:
    """The classes that a split holds out, in the order of `kind.classes`.

    Raises:
        InputError: there is no such split.
    """
    if not 0 <= split_seed < kind.class_splits:
        raise InputError(f"{kind.name}-unseen has the class splits 0 to {kind.class_splits - 1}; got {split_seed}")
    which, part = divmod(split_seed, len(kind.classes) // kind.held_out)
    order = seeded_order(kind.classes, which)
    return tuple(kind.classes[c] for c in sorted(order[part * kind.held_out : (part + 1) * kind.held_out]))


def load_cifar_unseen(kind: CifarSet, data_root: Path | None, cache: Path, split_seed: int = 0) -> Dataset:
    """The training images of some classes, and of the others queries and a database.

    Training images and queries are those of the whole protocol that have such a class; the database is all other images
    of the unseen classes. Of CIFAR-10, 3,500 images of seven classes train, and the three others give 300 queries and a
    database of 17,700. Of CIFAR-100, 7,500 images of 75 classes train, and the 25 others give 250 queries and a
    database of 14,750 less the copies among them.

    Args:
        kind: `CIFAR10` or `CIFAR100`.
        data_root: as for `load_cifar`.
        cache: as for `load_cifar`.
        split_seed: which class split.

    Returns:
        The data set. Label columns are the seen classes in the training split, the unseen ones in the others. Its
        `facts` are those of the whole, name both, and the fingerprint of all images, which the class splits have in
        common.

    Raises:
        InputError: no such class split; or as for `load_cifar`.
    """
    unseen = unseen_classes(kind, split_seed)
    seen = tuple(name for name in kind.classes if name not in unseen)
    whole = load_cifar(kind, data_root, cache)
    columns = {names: [kind.classes.index(name) for name in names] for names in (seen, unseen)}
    train, query = _with_labels(whole.train, columns[seen]), _with_labels(whole.query, columns[unseen])
    parts = [_with_labels(split, columns[unseen]) for split in (whole.database, whole.train)]
    database = Split(
        torch.cat([part.images[:] for part in parts]),
        torch.cat([part.labels for part in parts]),
        tuple(name for part in parts for name in part.names or ()) or None,
    )
    facts = {**whole.facts, "seen": list(seen), "unseen": list(unseen), "fingerprint_of_all": whole.fingerprint}
    if kind.coarse:
        facts["coarse"] = [kind.coarse[column] for column in columns[unseen]]
    return Dataset(
        f"{kind.name}-unseen",
        whole.name,
        seen,
        train,
        query,
        database,
        fingerprint(train, query, database),
        whole.cut,
        whole.denominator,
        facts=facts,
        unseen=True,
    )


def _with_labels(split: Split, columns: list[int]) -> Split:
    """The images that have one of these labels, in the order of the split, with these columns alone."""
    part = split.having(columns)
    return Split(part.images, part.labels[:, columns], part.names)
