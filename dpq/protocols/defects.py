"""What is wrong with published lists: images that repeat, leak from split to split, or have no label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpq.protocols.lists import Listed


@dataclass(frozen=True)
class Defects:
    """Images, by their listed paths, that a fair comparison would not have; every tuple is sorted.

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

    def lines(self) -> tuple[str, ...]:
        """One readable line a defect, with its count and one example; empty when there is none."""
        found = [
            *((paths, f"listed more than once in {split}") for split, paths in self.repeated.items()),
            (self.shared_train_query, "in both train and query"),
            (self.shared_query_database, "in both query and database"),
            *((paths, f"without a label in {split}") for split, paths in self.unlabelled.items()),
        ]
        return tuple(f"{len(paths)} images {what}, for instance {paths[0]}" for paths, what in found if paths)


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
    queries = set(query.paths)
    return Defects(
        repeated={name: _repeated(split.paths) for name, split in splits.items()},
        shared_train_query=tuple(sorted(queries.intersection(train.paths))),
        shared_query_database=tuple(sorted(queries.intersection(database.paths if database is not None else ()))),
        unlabelled={name: _unlabelled(split) for name, split in splits.items()},
    )


def _repeated(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path, count in Counter(paths).items() if count > 1))


def _unlabelled(split: Listed) -> tuple[str, ...]:
    rows = (~split.labels.any(dim=1)).nonzero().flatten().tolist()
    return tuple(sorted({split.paths[row] for row in rows}))
