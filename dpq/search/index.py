"""Search among coded images: an index that grows, shrinks, is read at every code length and kept in a file.

Axes: N images, Q queries, k answers, M levels, K codewords, D dimensions, C lists.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpq.codes.additive import check_codebook_size, prefix_levels
from dpq.errors import InputError
from dpq.inputs.values import Numbers, as_array, as_tensor, whole_number
from dpq.learning.settings import Score
from dpq.ranking.evaluate import in_threads
from dpq.ranking.scores import checked, fitting, lookup_tables, norm_offsets, prepared
from dpq.search.cells import Cells
from dpq.search.faiss import faiss_index, import_faiss, inverted_index, list_centroids
from dpq.search.file import Origin, is_no_text, read_index, write_index

_BLOCK = 1024  # queries whose tables are in memory at once
_MOST = 1 << 62  # above every id, so that there is always a next one

_LOCK = threading.RLock()  # held while an index changes or is made; of the module, so that indexes can be pickled

Ids = NDArray[np.int64]
P = ParamSpec("P")
R = TypeVar("R")


def _alone(method: Callable[P, R]) -> Callable[P, R]:
    """No other thread changes an index meanwhile, or begins to search one."""

    @wraps(method)
    def locked(*args: P.args, **options: P.kwargs) -> R:
        with _LOCK:
            return method(*args, **options)

    return locked


@dataclass(frozen=True)
class Found:
    """The nearest images of each query, best first; those of equal scores in the order of the index.

    Attributes:
        ids: [Q, k]; -1 where the lists that were looked at hold fewer images.
        rows: [Q, k] where the images stand in the index; -1 as for ids.
        scores: [Q, k] float32, larger is nearer: those of `asymmetric_scores`; -inf where there is no image.
    """

    ids: Ids
    rows: Ids
    scores: NDArray[np.float32]


class CodeIndex:
    """Coded images that embeddings are searched among.

    >>> import torch
    >>> from dpq.codes.additive import encode
    >>> from dpq import CodeIndex
    >>> embeddings = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> codebooks = torch.stack([embeddings[:16], embeddings[16:32] / 2])
    >>> index = CodeIndex(encode(embeddings, codebooks), codebooks)
    >>> index.search(embeddings[:3], k=5).ids.shape
    (3, 5)
    >>> index.remove([0, 1])
    >>> len(index), index.add(encode(embeddings[:2], codebooks)).tolist()  # new images have new ids
    (198, [200, 201])
    >>> len(index.prefix(bits=4))
    200

    Args:
        codes: [N, M] whole numbers, on the CPU; a tensor, or an array as the estimator gives.
        codebooks: [M, K, D] float, on the CPU; of any method.
        score: "inner" product or "l2" distance, as the method ranks.
        ids: [N] different numbers from 0 to 2**62 - 1; counted from 0 unless given.
        names: N different texts, of files for instance; or none.
        centroids: [C, D] of an inverted file; see `divide`.
        origin: where codes and names come from.
        next_id: what `add` counts on from, above every id that was ever in the index; after the largest unless given.
        removed: ids of images that were taken out, which are not given again.

    All of them are attributes too: codebooks and centroids as float32, ids and removed as int64, names as a tuple;
    centroids are None where every image is looked at. What is given is copied, `codes` and `codebooks` give copies, and
    the arrays are read-only: only `add`, `remove` and `divide` change an index. Several threads may use one.

    Raises:
        InputError: sizes do not fit, or values are out of range.
    """

    def __init__(
        self,
        codes: Numbers,
        codebooks: Numbers,
        score: Score = "inner",
        *,
        ids: Numbers | None = None,
        names: Sequence[str] = (),
        centroids: Numbers | None = None,
        origin: Origin | None = None,
        next_id: int | None = None,
        removed: Numbers = (),
    ) -> None:
        self._fill(codes, codebooks, score, ids, names, centroids, origin, next_id, removed, copied=True)

    def _fill(
        self,
        codes: Numbers,
        codebooks: Numbers,
        score: Score,
        ids: Numbers | None,
        names: Sequence[str] = (),
        centroids: Numbers | None = None,
        origin: Origin | None = None,
        next_id: int | None = None,
        removed: Numbers = (),
        copied: bool = False,
    ) -> None:
        _, codes, codebooks = fitting(None, codes, codebooks)
        check_codebook_size(codebooks.shape[1])
        self._codes = codes.detach().to("cpu", torch.uint8, copy=copied)
        self._codebooks = codebooks.detach().to("cpu", torch.float32, copy=copied)
        self.score, self.origin = checked(score), origin or Origin()
        self._ids = _new_ids(ids, len(codes), first=0)
        self._removed = np.unique(_checked_ids(removed))
        self._check_unused(self._ids)
        after = max(_after(self._ids), _after(self._removed))
        self.next_id = after if next_id is None else whole_number("next_id", next_id, None)
        if not after <= self.next_id <= _MOST:
            raise InputError(f"the next id is from {after}, after the largest, to {_MOST}; got {next_id}")
        texts = _texts(names)
        self.names = _new_names(texts, len(codes), named=bool(texts))
        lists = None if centroids is None else as_tensor(centroids, "centroids").detach().cpu().float()
        self._centroids = None if lists is None else lists.numpy().astype(np.float32, order="C")
        if lists is not None and (lists.ndim != 2 or not len(lists) or lists.shape[1] != codebooks.shape[2]):
            raise InputError(f"centroids of lists are [C, {codebooks.shape[2]}]; got {list(lists.shape)}")
        if not self._codebooks.isfinite().all() or (lists is not None and not lists.isfinite().all()):
            raise InputError("codebooks and centroids must be finite")

    def __len__(self) -> int:
        """Number of images N."""
        return len(self._codes)

    @property
    def codes(self) -> Tensor:
        """[N, M] uint8, a copy."""
        return self._codes.clone()

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D] float32, a copy."""
        return self._codebooks.clone()

    @property
    def ids(self) -> Ids:
        """[N], read-only."""
        return _read_only(self._ids)

    @property
    def removed(self) -> Ids:
        """Ids of images that were taken out, ascending, read-only."""
        return _read_only(self._removed)

    @property
    def centroids(self) -> NDArray[np.float32] | None:
        """[C, D] of an inverted file, read-only; None where there is none."""
        return None if self._centroids is None else _read_only(self._centroids)

    @property
    def bits(self) -> int:
        """Code length."""
        return len(self._codebooks) * (self._codebooks.shape[1].bit_length() - 1)

    @cached_property
    def faiss(self) -> Any:
        """A Faiss index, with rows for ids; of an inverted file if there are centroids. Changes are not taken back.

        It is the caller's: `search` has one of its own.

        Raises:
            InputError: Faiss is not installed.
        """
        return self._faiss_of(self._codebooks, self._centroids)

    def _faiss_of(self, codebooks: Tensor, centroids: NDArray[np.float32] | None) -> Any:
        if centroids is None:
            return faiss_index(self._codes, codebooks, self.score)
        return inverted_index(self._codes, codebooks, centroids, self.score)

    @cached_property
    def _lists(self) -> Any:
        """The Faiss index of lists that is searched: as `faiss`, or of centred codebooks where their mean is large."""
        points, codebooks = prepared(torch.from_numpy(self._centroids), self._codebooks, self.score)
        return self._faiss_of(codebooks, points.contiguous().numpy())

    @cached_property
    def _cells(self) -> Cells:
        """The images in the order of their codes, with codebooks as they are scored."""
        none = self._codebooks.new_empty(0, self._codebooks.shape[2])
        return Cells(self._codes.numpy(), prepared(none, self._codebooks, self.score)[1].numpy(), self.score)

    def search(self, queries: Numbers, k: int = 10, probes: int | None = None) -> Found:
        """The nearest images of each query: those of our ranking, up to the last digits of sums.

        Args:
            queries: [Q, D] float; embeddings, not codes.
            k: answers to each query; at most N are given.
            probes: of an inverted file, how many lists to look at, with Faiss: fewer is faster and may miss images.
                Unless given, the answers are exact, whatever lists there are, and need no Faiss.

        Raises:
            InputError: another dimension, values that are not finite, a number out of range, or no Faiss for lists.
        """
        wanted = as_tensor(queries, "queries").detach().cpu().float()
        if wanted.ndim != 2 or wanted.shape[1] != self._codebooks.shape[2] or not wanted.isfinite().all():
            raise InputError(f"queries are finite numbers [Q, {self._codebooks.shape[2]}]; got {list(wanted.shape)}")
        k = whole_number("k", k)
        with _LOCK:  # what belongs together, whatever other threads change meanwhile
            codes, ids, lists = self._codes, self._ids, 0 if self._centroids is None else len(self._centroids)
            if probes is not None and not 1 <= (probes := whole_number("probes", probes, None)) <= lists:
                raise InputError(f"the index has {lists} lists to look at; got {probes} probes")
            cells = self._cells if probes is None else None
            inverted: Any = None if cells is not None else self._lists
        k = min(k, len(codes))
        if not k or not len(wanted):
            none = np.empty((len(wanted), k), np.int64)
            return Found(none, none.copy(), none.astype(np.float32))
        parts = []
        for part in torch.split(wanted, _BLOCK):
            part, codebooks = prepared(part, self._codebooks, self.score)
            tables = lookup_tables(part, codebooks)
            if cells is not None:
                found = in_threads(partial(cells.nearest, k=k), list(part.double().numpy()), "search")
                every = [
                    self._scored(one.rows[None], codes, table[None], codebooks)
                    for one, table in zip(found, tables, strict=True)
                ]
                parts += [(rows[:, :k], scores[:, :k]) for rows, scores in every]
            else:
                limits = import_faiss().SearchParametersIVF(nprobe=probes)
                rows = np.asarray(inverted.search(part.float().numpy(), k, params=limits)[1], np.int64)
                parts.append(self._scored(rows, codes, tables, codebooks))
        rows, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Found(np.where(rows < 0, -1, ids[rows]), rows, scores)

    def _scored(self, rows: Ids, codes: Tensor, tables: Tensor, codebooks: Tensor) -> tuple[Ids, NDArray[np.float32]]:
        """Rows and scores of the answers to some queries, [Q, n] each, best first, by our scores.

        Args:
            rows: [Q, n] that were found; -1 for none.
            codes: [N, M] of the index.
            tables: [Q, M, K] of the queries.
            codebooks: [M, K, D] that they are made with.
        """
        codes = codes[torch.from_numpy(rows).clamp(min=0)]  # [Q, n, M]
        total = tables.gather(2, codes.long().transpose(1, 2)).sum(dim=1)
        offsets = norm_offsets(codes.flatten(0, 1), codebooks, self.score)
        total = total if offsets is None else 2 * total - offsets.view(rows.shape)
        scores = np.where(rows < 0, -np.inf, total.numpy())
        order = np.lexsort((rows, -scores))
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1).astype(np.float32)

    @_alone
    def add(self, codes: Numbers, ids: Numbers | None = None, names: Sequence[str] = ()) -> Ids:
        """Append images.

        Args:
            codes: [n, M] integer, of the same method.
            ids: [n] numbers that the index does not have; counted on from the largest that it ever had unless given,
                so that the id of an image that was removed is not given again.
            names: n texts that it does not have, if the others have names.

        Returns:
            The ids of the new images, [n].

        Raises:
            InputError: sizes do not fit, or an id or name is there already, or an id was.
        """
        _, codes, _ = fitting(None, codes, self._codebooks)
        new = _new_ids(ids, len(codes), first=self.next_id)
        every = _new_ids(np.concatenate([self._ids, new]), len(self) + len(codes), first=0)
        self._check_unused(new)
        texts = _texts(names)
        named = bool(self.names) or (bool(texts) and not len(self))
        self.names = _new_names([*self.names, *texts], len(every), named)
        self._codes, self._ids = torch.cat([self._codes, codes.to("cpu", torch.uint8)]), every
        self.next_id = max(self.next_id, _after(new))
        self._changed()
        return new

    @_alone
    def remove(self, ids: Numbers) -> None:
        """Take images out; the others keep their order and ids.

        Raises:
            InputError: the index does not have one of the ids, or they are none, as a mask; nothing is removed.
        """
        gone = _checked_ids(ids).reshape(-1)
        missing = gone[~np.isin(gone, self._ids)]
        if len(missing):
            raise InputError(f"the index has no image with the id {missing[0]}")
        kept = ~np.isin(self._ids, gone)
        self._codes, self._ids = self._codes[torch.from_numpy(kept)], self._ids[kept]
        self._removed = np.union1d(self._removed, gone)
        self.names = tuple(name for name, keep in zip(self.names, kept, strict=True) if keep) if self.names else ()
        self._changed()

    def ids_of(self, names: Sequence[str]) -> Ids:
        """The ids of named images, [n].

        Raises:
            InputError: a name is not in the index.
        """
        row = {name: i for i, name in enumerate(self.names)}
        wanted = _texts(names)
        missing = [name for name in wanted if name not in row]
        if missing:
            raise InputError(f"the index has no image {missing[0]}")
        return self._ids[[row[name] for name in wanted]]

    @_alone
    def prefix(self, bits: int) -> CodeIndex:
        """The index of the same images by the first `bits` bits of their codes, which must be whole levels.

        Raises:
            InputError: they are not, or the codes are shorter.
        """
        levels = prefix_levels(bits, len(self._codebooks), self._codebooks.shape[1])
        shorter = copy.copy(self)
        shorter._codes, shorter._codebooks = self._codes[:, :levels], self._codebooks[:levels]
        shorter._changed()
        return shorter

    @_alone
    def divide(self, lists: int, seed: int = 0) -> None:
        """Make an inverted file of the index, for large sets: searches then can look at some of its lists alone.

        Args:
            lists: C; about the square root of N suits. Images that are added later go to the lists that there are.
            seed: of k-means.

        Raises:
            InputError: C is below 1 or above N, or Faiss is not installed.
        """
        self._centroids = list_centroids(self._codes, self._codebooks, lists, seed)
        self._changed()

    def _check_unused(self, ids: Ids) -> None:
        again = ids[np.isin(ids, self._removed)]
        if len(again):
            raise InputError(f"id {again[0]} was of an image that was removed; give a new one, or none to count on")

    def _changed(self) -> None:
        for name in ("faiss", "_lists", "_cells"):
            self.__dict__.pop(name, None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, whole or not at all. It holds codes, codebooks, ids and names; Faiss's index is made of them.

        Args:
            path: the file; an index that is there is replaced.

        Raises:
            InputError: it cannot be written, or there is something else than an index.
        """
        with _LOCK:  # what belongs together; it is not changed in place
            tensors = {"codes": self._codes, "codebooks": self._codebooks, "ids": torch.from_numpy(self._ids)}
            if self._centroids is not None:
                tensors["centroids"] = torch.from_numpy(self._centroids)
            if len(self._removed):
                tensors["removed"] = torch.from_numpy(self._removed)
            names, next_id = self.names, self.next_id
        write_index(Path(path), tensors, names, self.score, self.origin, next_id)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; nothing is unpickled, and Faiss reads no file.

        Codes stay on the disk until they are needed: the file is mapped, and may be replaced, but not written to.

        Raises:
            InputError: the file is missing, damaged, or of something else.
        """
        index = cls.__new__(cls)
        read_index(Path(path), index._fill)
        return index


def _read_only(values: NDArray[Any]) -> NDArray[Any]:
    """The same array, which cannot be written to."""
    view = values.view()
    view.flags.writeable = False
    return view


def _checked_ids(ids: Numbers) -> Ids:
    """Ids of any shape, whole and in range."""
    array = as_array(ids, "ids")
    if array.size and array.dtype.kind not in "iu":
        hint = "; of a mask, give index.ids[mask]" if array.dtype.kind == "b" else ""
        raise InputError(f"ids are whole numbers; got {array.dtype} {list(array.shape)}{hint}")
    if array.size and not 0 <= array.min() <= array.max() < _MOST:
        raise InputError(f"ids are from 0 to {_MOST - 1}; got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _after(ids: Ids) -> int:
    """The number after the largest of ids, 0 if there are none."""
    return int(ids.max(initial=-1)) + 1


def _new_ids(ids: Numbers | None, count: int, first: int) -> Ids:
    """Different ids [count] that have been checked; counted from `first` unless given."""
    array = _checked_ids(np.arange(first, first + count) if ids is None else ids)
    if array.shape != (count,):
        raise InputError(f"expected {count} ids, one for each image; got {list(array.shape)}")
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise InputError(f"id {values[counts > 1][0]} stands for two images; give each its own")
    return array


def _texts(names: Sequence[str]) -> tuple[str, ...]:
    """Names as given, if they are texts and not one text."""
    texts: tuple[Any, ...] = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else (None,)
    if not all(isinstance(name, str) for name in texts):
        raise InputError(f"names are a list of texts, one for each image; got {str(names)[:60]!r}")
    return texts


def _new_names(names: Sequence[str], count: int, named: bool) -> tuple[str, ...]:
    """Names that have been checked."""
    if len(names) != (count if named else 0):
        raise InputError(f"give a name to every image or to none; got {len(names)} names of {count} images")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{name!r} stands for two images; give each its own name")
        if not name or is_no_text(name):
            raise InputError(f"names are texts that UTF-8 can hold; got {name!r}: rename the file")
        seen.add(name)
    return tuple(names)
