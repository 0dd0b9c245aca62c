"""Figures of exhibits: projection, gallery, ties."""

import json

import numpy as np
import pytest

from benchmarks.figures.gallery import gallery_figure
from benchmarks.figures.projection import COLOURS, MARKERS, projection_figure
from benchmarks.figures.ties import ties_figure, ties_of
from dpq import InputError
from tests.benchmarks.conftest import make_record
from tests.benchmarks.figures.conftest import curve


@pytest.mark.parametrize("draw", [gallery_figure, projection_figure, ties_figure])
def test_nothing_without_an_exhibit(material, draw, put_ties, put_projection, put_gallery):
    elsewhere = make_record(id="of-no-record-here")
    for write in (put_ties, put_projection, put_gallery):
        write(elsewhere)
    assert draw(material(make_record())) is None


def test_points_by_class_at_every_length(material, put_projection):
    record = make_record()
    put_projection(record)
    figure = projection_figure(material(record))
    for axes, bits in zip(figure.axes, (8, 16), strict=True):
        assert axes.get_title() == f"{bits} bits"
        cat, dog, frog = axes.collections
        assert cat.get_offsets().tolist() == [[0, bits], [3, 0]]
        assert (dog.get_offsets().tolist(), frog.get_offsets().tolist()) == ([[1, 0]], [[2, 0]])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["cat", "dog", "frog"]


def test_a_hundred_classes_differ_in_colour_or_marker():
    looks = {
        (MARKERS[i % len(MARKERS)], COLOURS[(i + i // len(MARKERS)) % len(COLOURS)])
        for i in range(len(MARKERS) * len(COLOURS))
    }
    assert len(looks) == 100


def test_dpq_of_the_lowest_seed_is_the_one_that_is_drawn(material, put_projection):
    records = [make_record("dqn"), make_record(seed=2), make_record(seed=1), make_record(seed=0)]
    for record in records[:3]:
        put_projection(record)
    assert "DPQ, seed 1" in projection_figure(material(*records)).get_suptitle()


def test_wrong_images_are_framed_and_right_ones_not(material, put_gallery):
    """Image 2 alone has no class in common with the query."""
    record = make_record()
    put_gallery(record)
    (axes,) = gallery_figure(material(record)).axes
    framed = [(round(p.get_x() - 3), round(p.get_y())) for p in axes.patches]
    assert framed == [(0, 0), (2, 1)]
    assert all(patch.get_linewidth() >= 3 for patch in axes.patches)
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [(int(x.get_xdata()[0] - 3), int(x.get_ydata()[0])) for x in crosses] == framed
    assert [text.get_text() for text in axes.texts] == ["cat", "8 bits\n1,234 tied", "16 bits"]


def test_the_query_and_its_nearest_in_their_order(material, put_gallery):
    record = make_record()
    put_gallery(record)
    (axes,) = gallery_figure(material(record)).axes
    greys = [np.unique(image.get_array()).tolist() for image in axes.images]
    assert greys == [[10], [30], [20], [40], [20], [40], [30]]
    assert {image.get_interpolation() for image in axes.images} == {"nearest"}
    left = [round(image.get_extent()[0] - 3) for image in axes.images]
    assert left == [-3, 0, 1, 2, 0, 1, 2]


def test_a_sprite_of_another_exhibit_is_refused(material, put_gallery):
    record = make_record()
    path = put_gallery(record)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sprite_sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"gallery\.png is not the sprite"):
        gallery_figure(material(record))


def test_bounds_exact_value_and_orders_of_ties(material, put_ties):
    record = make_record(maps=(0.5, 0.6))
    put_ties(record)
    (axes,) = ties_figure(material(record)).axes
    assert [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches] == [
        pytest.approx((0.4, 0.6)),
        pytest.approx((0.5, 0.7)),
    ]
    (exact,) = axes.collections
    assert [segment[0, 1] for segment in exact.get_segments()] == [0.5, 0.6]
    assert curve(axes, "argsort, database class-sorted")[1] == pytest.approx([0.58, 0.68])
    assert curve(axes, "argsort, database shuffled")[1] == pytest.approx([0.5, 0.6])
    assert len({line.get_marker() for line in axes.lines}) == 2
    assert axes.get_ylim()[0] < 0.4 < 0.7 < axes.get_ylim()[1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "16"]


def test_ties_are_of_the_lowest_seed_and_of_codes_trained_for_their_length(material, put_ties):
    short = make_record("dqn", bits=(8,), maps=(0.3,), id="dqn-8")
    records = [make_record(seed=0), make_record(seed=1, maps=(0.1, 0.2)), make_record("dqn"), short]
    for record in records[1:]:
        put_ties(record)
    dqn, dpq = ties_of(material(*records))
    assert (dpq.seed, [length.map for length, _ in dpq.lengths.values()]) == (1, [0.1, 0.2])
    assert (dqn.row.title, [length.map for length, _ in dqn.lengths.values()]) == ("DQN", [0.3, 0.6])


def test_truncated_codes_stand_in_where_only_they_have_ties(material, put_ties):
    records = [make_record("dqn"), make_record("dqn", bits=(8,), maps=(0.3,), id="dqn-8")]
    put_ties(records[0])
    (dqn,) = ties_of(material(*records))
    assert dqn.row.training == "truncated"
    assert list(dqn.lengths) == [8, 16]
