"""Finds the list files of a protocol below a data root."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import isfile
from pathlib import Path

from dpq.errors import InputError


@dataclass(frozen=True)
class ListFolder:
    """The folder that holds a protocol's lists.

    Attributes:
        path: the folder.
        train: list of the training images.
        query: list of the queries.
        database: list of the database, where there is one.
    """

    path: Path
    train: Path
    query: Path
    database: Path | None


def find_lists(root: Path, name: str, advice: str, *, with_database: bool = False) -> ListFolder:
    """The first of `root/name` and `root` that holds the lists, each as `.txt` or `.txt.gz`.

    All lists come from one folder; the protocol's own goes first, since the root may hold another one's.

    Args:
        root: the data root.
        name: the protocol's folder.
        advice: where to get the lists, for the message.
        with_database: whether the list of the database is needed as well.

    Raises:
        InputError: neither folder holds all the lists needed.
    """
    needed = ("train", "query", "database") if with_database else ("train", "query")
    for folder in (root / name, root):
        found = {stem: _find(folder, stem) for stem in ("train", "query", "database")}
        train, query, database = found.values()
        if train and query and all(found[stem] for stem in needed):
            return ListFolder(folder, train, query, database)
    files = ", ".join(f"{stem}.txt" for stem in needed)
    raise InputError(f"no lists of {name} in {root}: put {files} (or .txt.gz) into {root / name}; {advice}")


def _find(folder: Path, stem: str) -> Path | None:
    for path in (folder / f"{stem}.txt", folder / f"{stem}.txt.gz"):
        if isfile(path):
            return path
    return None
