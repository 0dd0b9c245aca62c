"""The nearest images of a few queries, at every code length.

Axes: B drawn queries, N database, n images shown, S the side of a tile.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.exhibits.draws import class_names, class_rounds
from benchmarks.exhibits.exhibit import Gallery, Image, Nearest, Query
from benchmarks.records.raw import RawResult
from benchmarks.records.record import Record
from benchmarks.running.evaluation import float_score, recorded_query_precision, to_rank
from dpq.errors import InputError
from dpq.protocols import Dataset
from dpq.ranking.scores import DistinctCodes, lookup_tables, norm_offsets, prepared
from dpq.ranking.ties import Ints, descending

QUERIES = 5
NEAREST = 10
COLUMNS = 16  # of the sprite, in images
MOST = 64  # pixels; larger images become thumbnails of that side


def show_nearest(record: Record, raw: RawResult, dataset: Dataset) -> tuple[Gallery, NDArray[np.uint8]]:
    """Queries of different classes, drawn without a look at the results, and the nearest images of each.

    Returns:
        The gallery without its sprite's file, and the sprite, [rows, columns, 3].

    Raises:
        InputError: no query has a label.
    """
    drawn, rounds = class_rounds(raw.query_labels, "gallery")
    drawn = drawn[rounds == 0][:QUERIES]
    if not len(drawn):
        raise InputError(f"a gallery needs queries with a label; {record.id} has none")
    ranked = [(length.bits, *nearest_images(record, raw, drawn, length.bits)) for length in record.lengths]
    shown = np.unique(np.concatenate([nearest.ravel() for _, nearest, _ in ranked]))
    place = {row: len(drawn) + i for i, row in enumerate(shown.tolist())}  # in the sprite, after the queries
    queries = (
        [Nearest(bits, tuple(map(place.__getitem__, rows[b].tolist())), int(tied[b])) for bits, rows, tied in ranked]
        for b in range(len(drawn))
    )
    tiles = tiles_of(
        torch.cat([dataset.query.images[torch.from_numpy(drawn)], dataset.database.images[torch.from_numpy(shown)]])
    )
    labels = np.concatenate([raw.query_labels[drawn], raw.database_labels[shown]])
    gallery = Gallery(
        run=record.id,
        side=tiles.shape[1],
        columns=COLUMNS,
        classes=class_names(dataset),
        images=tuple(Image(tuple(np.flatnonzero(row).tolist())) for row in labels),
        queries=tuple(Query(b, tuple(lengths)) for b, lengths in enumerate(queries)),
    )
    return gallery, join_tiles(tiles)


def nearest_images(record: Record, raw: RawResult, drawn: Ints, bits: int) -> tuple[Ints, Ints]:
    """The nearest database images of the queries `drawn` [B], ties in the order of the database.

    Returns:
        Rows of the database, best first, [B, 10], or [B, N] if there are fewer; and how many images have the score of
        the last of them, [B].
    """
    lengths, score = [length.bits for length in record.lengths], float_score(record.score)
    ranked = zip(lengths, to_rank(raw, lengths, record.score, recorded_query_precision(record)), strict=True)
    # Of all queries, as the evaluation has them: a product's last digits depend on its shape, and ties on them.
    queries, codes, codebooks = next(given for length, given in ranked if length == bits)
    distinct = DistinctCodes.of(codes)
    queries, codebooks = prepared(queries, codebooks, score)
    offsets = norm_offsets(distinct.codes, codebooks, score)
    tables = lookup_tables(queries, codebooks).numpy()
    of_code = distinct.scores(tables[drawn], None if offsets is None else offsets.numpy())
    scores = of_code.take(distinct.inverse, axis=1)
    nearest = descending(scores)[1][:, :NEAREST]
    last = np.take_along_axis(scores, nearest[:, -1:], axis=1)
    return nearest, (scores == last).sum(axis=1)


def tiles_of(images: Tensor) -> NDArray[np.uint8]:
    """Images [n, 3, H, H] uint8 as tiles [n, S, S, 3]: as they are, or made smaller."""
    from PIL import Image

    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    if images.shape[-1] <= MOST:
        return np.asarray(pixels, dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((MOST, MOST), Image.Resampling.LANCZOS)) for one in pixels])


def join_tiles(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles [n, S, S, 3] row by row in one image of `COLUMNS` tiles a row; what is left of the last row is black."""
    n, side = tiles.shape[:2]
    rows = -(-n // COLUMNS)
    grid = np.zeros((rows * COLUMNS, side, side, 3), dtype=np.uint8)
    grid[:n] = tiles
    return grid.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2).reshape(rows * side, COLUMNS * side, 3)
