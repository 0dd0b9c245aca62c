"""What is wrong with published lists: images that repeat, leak from split to split, or have no label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpq.protocols.lists import Listed


@dataclass(frozen=True)
class Defects:
    """Images, by their files, that a fair comparison would not have; every tuple is sorted.

    Attributes:
        repeated: those that a split lists more than once, by split.
        shared_train_query: those in the training split and among the queries.
        shared_query_database: those among the queries and in the database.
        unlabelled: those without a label, by split; as queries they never find anything.
    """

    repeated: Mapping[str, tuple[str, ...]]
    shared_train_query: tuple[str, ...]
    shared_query_database: tuple[str, ...]
    unlabelled: Mapping[str, tuple[str, ...]]

    def leaks(self) -> dict[str, tuple[str, ...]]:
        """Images that make a comparison unfair, by what is wrong with them; without empty entries."""
        found = {
            "in both train and query": self.shared_train_query,
            "in both query and database": self.shared_query_database,
            **{f"more than once in {split}": paths for split, paths in self.repeated.items()},
        }
        return {what: paths for what, paths in found.items() if paths}

    def without_label(self) -> dict[str, tuple[str, ...]]:
        """Images without a label, by where they are; without empty entries."""
        return {f"without a label in {split}": paths for split, paths in self.unlabelled.items() if paths}


def find_defects(train: Listed, query: Listed, database: Listed | None) -> Defects:
    """Looks through the splits of a protocol; training images in the database are no defect.

    Args:
        train: the training split.
        query: the queries.
        database: the database, where it is known.

    Returns:
        Everything found; the mappings have a key for every split given.
    """
    splits = {"train": train, "query": query}
    if database is not None:
        splits["database"] = database
    queries = set(query.files)  # one file may be listed under several paths
    return Defects(
        repeated={name: _repeated(split.files) for name, split in splits.items()},
        shared_train_query=tuple(sorted(queries.intersection(train.files))),
        shared_query_database=tuple(sorted(queries.intersection(database.files if database is not None else ()))),
        unlabelled={name: _unlabelled(split) for name, split in splits.items()},
    )


def _repeated(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path, count in Counter(paths).items() if count > 1))


def _unlabelled(split: Listed) -> tuple[str, ...]:
    rows = (~split.labels.any(dim=1)).nonzero().flatten().tolist()
    return tuple(sorted({split.paths[row] for row in rows}))
