from dataclasses import replace

import numpy as np
import pytest

from benchmarks.exhibits.gallery import nearest_images, show_nearest
from dpq import InputError
from dpq.seeds import derive_seed
from tests.benchmarks.exhibits.conftest import BITS, coded, dataset_of, record_of, reference_scores, seeded


def reference_draw(labels, most=5):
    """The first query of every class in the seeded order, by first label."""
    drawn = {}
    for row in seeded(derive_seed(0, "gallery"), range(len(labels))):
        if labels[row].any():
            drawn.setdefault(list(labels[row]).index(True), row)
    return list(drawn.values())[:most]


def tile(sprite, gallery, k):
    side = gallery.side
    y, x = divmod(k, gallery.columns)
    return sprite[y * side : (y + 1) * side, x * side : (x + 1) * side]


@pytest.mark.parametrize("score", ["inner", "l2"])
@pytest.mark.parametrize("bits", BITS)
def test_the_nearest_are_those_of_a_stable_sort_of_all_scores(score, bits):
    record, raw = coded(score)
    drawn = np.array([5, 0, 7])
    nearest, tied = nearest_images(record, raw, drawn, bits)
    for row, found, count in zip(reference_scores(raw, bits, score)[drawn], nearest, tied, strict=True):
        assert found.tolist() == np.argsort(-row, kind="stable")[:10].tolist()
        assert count == (row == row[found[-1]]).sum()
    assert tied.max() > 1


def test_a_database_of_less_than_ten_is_shown_whole():
    record, raw = coded(items=7)
    nearest, tied = nearest_images(record, raw, np.array([1]), 4)
    assert sorted(nearest[0].tolist()) == list(range(7))
    row = reference_scores(raw, 4, "inner")[1]
    assert tied.tolist() == [(row == row.min()).sum()]


def test_queries_are_rounded_as_the_record_says():
    record, raw = coded()
    drawn = np.arange(5)
    whole = nearest_images(record, raw, drawn, 2)
    raw.queries[:] += np.random.default_rng(0).uniform(-1e-4, 1e-4, raw.queries.shape).astype(np.float32)
    rounded = nearest_images(record_of(raw, precision="float16"), raw, drawn, 2)
    assert all(np.array_equal(one, other) for one, other in zip(whole, rounded, strict=True))


@pytest.mark.parametrize("side", [8, 80])
def test_every_tile_is_the_image_that_it_stands_for(side):
    record, raw = coded()
    dataset = dataset_of(raw, side)
    gallery, sprite = show_nearest(record, raw, dataset)
    assert (gallery.side, gallery.columns) == (min(side, 64), 16)
    assert gallery.classes == ("cat", "dog", "owl", "yak")
    drawn = reference_draw(raw.query_labels)
    shown = {}
    for query, row in zip(gallery.queries, drawn, strict=True):
        shown[query.image] = raw.query_labels[row], dataset.query.images[row]
        for bits, entry in zip(BITS, query.lengths, strict=True):
            assert entry.bits == bits
            scores = reference_scores(raw, bits, "inner")[row]
            expected = np.argsort(-scores, kind="stable")[:10].tolist()
            assert entry.tied == (scores == scores[expected[-1]]).sum()
            for k, i in zip(entry.nearest, expected, strict=True):
                image = raw.database_labels[i], dataset.database.images[i]
                assert np.array_equal(shown.setdefault(k, image)[1], image[1])
    assert sorted(shown) == list(range(len(gallery.images)))
    for k, (labels, pixels) in shown.items():
        assert gallery.images[k].labels == tuple(c for c in range(4) if labels[c])
        if side == 8:
            assert np.array_equal(tile(sprite, gallery, k), pixels.permute(1, 2, 0))
    assert sprite.shape == (-(-len(shown) // 16) * gallery.side, 16 * gallery.side, 3)
    assert len({pixels.numpy().tobytes() for _, pixels in shown.values()}) == len(shown)  # none twice


def test_queries_are_of_different_classes_and_no_choice_of_results():
    record, raw = coded(queries=60)
    drawn = reference_draw(raw.query_labels)
    assert len(drawn) == 4
    images = dataset_of(raw)
    before = show_nearest(record, raw, images)[0]
    raw.codes[:] = raw.codes[::-1].copy()
    after = show_nearest(record_of(raw), raw, images)[0]
    labels = [[gallery.images[q.image].labels for q in gallery.queries] for gallery in (before, after)]
    assert labels[0] == labels[1] == [tuple(np.flatnonzero(raw.query_labels[row]).tolist()) for row in drawn]
    assert len({of_query[0] for of_query in labels[0]}) == 4


def test_at_most_five_queries_are_drawn():
    record, raw = coded(queries=40)
    eight = np.eye(8, dtype=bool)
    raw = replace(raw, query_labels=eight[np.arange(40) % 8], database_labels=eight[np.arange(90) % 8])
    gallery, _ = show_nearest(record, raw, dataset_of(raw))
    assert len({gallery.images[q.image].labels[0] for q in gallery.queries}) == 5
    assert len(gallery.queries) == 5


def test_queries_without_a_label_make_no_gallery():
    record, raw = coded()
    raw.query_labels[:] = False
    with pytest.raises(InputError, match="needs queries with a label"):
        show_nearest(record, raw, dataset_of(raw))
