import numpy as np
import pytest
from scipy import stats

from benchmarks.figures.lengths import _ranges, every_row_figure, map_figure
from benchmarks.report.study import MOST
from tests.benchmarks.conftest import make_record
from tests.benchmarks.figures.conftest import class_split, curve

SEEDS = [(0.80, 0.85), (0.84, 0.89), (0.85, 0.86)]


def student(values):
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))


def test_means_and_student_intervals_over_seeds(material):
    figure = map_figure(material(*[make_record(seed=seed, maps=maps) for seed, maps in enumerate(SEEDS)]))
    (axes,) = figure.axes
    x, y, ends = curve(axes, "DPQ")
    assert x.tolist() == [8, 16]  # a curve alone is not moved
    assert y == pytest.approx(np.mean(SEEDS, axis=0))
    assert ends == pytest.approx(np.array([student(column) for column in np.transpose(SEEDS)]))
    assert figure.get_suptitle().endswith("n = 3 seeds; bars are 95 % intervals for the mean")
    assert curve(axes, "DPQ, as printed")[1].tolist() == [0.814, 0.833]


def test_one_seed_has_no_interval(material):
    figure = map_figure(material(make_record()))
    assert curve(figure.axes[0], "DPQ")[2] is None
    assert figure.get_suptitle().endswith("n = 1 seed")


def test_class_splits_are_the_repetitions_not_their_seeds(material):
    """By hand: means over seeds within each split, then the interval over three of them."""
    maps = {(split, seed): 0.5 + split / 10 + seed / 100 for split in range(3) for seed in range(2)}
    records = [class_split(make_record(seed=seed, maps=(m, m)), split) for (split, seed), m in maps.items()]
    figure = map_figure(material(*records))
    _, y, ends = curve(figure.axes[0], "DPQ")
    assert y == pytest.approx([0.605, 0.605])
    assert ends[0] == pytest.approx(student([0.505, 0.605, 0.705]))
    assert "n = 3 class splits (each a mean over seeds)" in figure.get_suptitle()


def test_curves_stand_beside_each_other_and_never_reach_the_next_length(material):
    figure = map_figure(material(*[make_record(method, maps=(0.50, 0.52)) for method in ("dpq", "rq-dpq", "dqn")]))
    places = [curve(figure.axes[0], title)[0] for title in ("DPQ", "RQ on DPQ's embedding")]
    assert len({place[0] for place in places}) == 2
    assert all(abs(place - (8, 16)).max() < 2 for place in places)


def test_the_axis_is_broken_at_a_big_gap_and_close_curves_have_a_panel(material):
    records = [make_record("rq", maps=(0.20, 0.22)), make_record(maps=(0.70, 0.72)), make_record("rq-dpq")]
    above, below, close = map_figure(material(*records)).axes
    assert below.get_ylim()[0] < 0.20 < 0.22 < below.get_ylim()[1] < above.get_ylim()[0] < 0.5
    assert close.get_title() == "Close-up: DPQ and its controls"
    assert close.get_ylim()[0] < 0.5 < 0.72 < close.get_ylim()[1] < 0.8
    assert {container.get_label() for container in close.containers} == {"DPQ", "RQ on DPQ's embedding"}


@pytest.mark.parametrize(
    "extents", [[(0.5, 0.5)], [(0.2, 0.8)], [(0.2, 0.8), (0.3, 0.35), (0.85, 0.9)], [(0.7, 0.71), (0.75, 0.8)]]
)
def test_curves_without_a_big_gap_have_one_panel(extents):
    ((low, high),) = _ranges(extents)
    assert low < min(extents)[0] <= max(top for _, top in extents) < high


def test_a_gap_is_between_all_curves_below_it_and_all_above_it():
    above, below = _ranges([(0.1, 0.3), (0.15, 0.2), (0.7, 0.8), (0.75, 0.76)])
    assert below[0] < 0.1 < 0.3 < below[1] < above[0] < 0.7 < 0.8 < above[1]


def test_trainings_that_ended_at_a_length_are_one_curve_without_a_line_told_apart_by_its_marker(material):
    whole = make_record(bits=(8, 16, 24), maps=(0.7, 0.75, 0.8))
    for_8 = make_record(bits=(8,), maps=(0.72,), id="for-8")
    for_16 = make_record(bits=(8, 16), maps=(0.1, 0.76), id="for-16")
    axes = map_figure(material(whole, for_8, for_16)).axes[0]
    title = "DPQ, a training for each length"
    assert curve(axes, title)[1].tolist() == [0.72, 0.76]  # of each its own longest code
    assert curve(axes, "DPQ")[1].tolist() == [0.7, 0.75, 0.8]
    lines = {container.get_label(): container.lines[0] for container in axes.containers}
    assert lines.keys() == {"DPQ", title}
    assert (lines[title].get_linestyle(), lines[title].get_fillstyle()) == ("None", "left")
    assert (lines["DPQ"].get_linestyle(), lines["DPQ"].get_fillstyle()) == ("-", "full")


def test_lines_join_points_of_equally_many_repetitions(material):
    seeds = [make_record(seed=seed, bits=(8, 16, 24), maps=(0.7, 0.75, 0.8)) for seed in range(2)]
    dqn = [
        make_record("dqn", bits=(bits,), maps=(0.6,), seed=seed, id=f"dqn-{bits}-{seed}")
        for bits, count in ((8, 2), (16, 1), (24, 1))
        for seed in range(count)
    ]
    axes = map_figure(material(*seeds, *dqn)).axes[0]
    drawn = {container.get_label(): container.lines[0].get_linestyle() for container in axes.containers}
    assert drawn == {"DPQ": "-", "DQN": "None"}
    (line,) = [line for line in axes.lines if line.get_label() == "_DQN"]
    assert line.get_xdata() == pytest.approx([16, 24], abs=4)


def test_a_lone_point_far_below_leaves_the_close_up_and_is_said(material):
    records = [make_record(maps=(0.70, 0.72)), make_record("rq-dpq", maps=(0.69, 0.71))]
    close = map_figure(material(*records, make_record("label-code", maps=(0.5, 0.70)))).axes[-1]
    assert 0.68 < close.get_ylim()[0] < 0.69
    assert [text.get_text() for text in close.texts] == ["\u2193 0.500"]
    close = map_figure(material(*records, make_record("label-code", maps=(0.685, 0.70)))).axes[-1]
    assert close.get_ylim()[0] < 0.685
    assert not close.texts


def test_no_more_than_eight_lines_and_the_others_are_one_figure_away(material):
    names = ["dpq", "rq-dpq", "pq-dpq", "label-code", "rq"]
    once = [make_record(name, maps=(0.3 + i / 50, 0.4 + i / 50)) for i, name in enumerate(names)]
    each = [
        make_record(name, bits=bits, maps=maps, id=f"{name}-{max(bits)}")
        for name, low in (("pq", 0.2), ("dqn", 0.25), ("dtq", 0.5))
        for bits, maps in [((8,), (low,)), ((8, 16), (low / 2, low + 0.1))]
    ]
    made = material(*once, *each)
    shown = {container.get_label() for container in map_figure(made).axes[0].containers}
    assert len(shown) == MOST
    assert "DPQ" in shown
    assert not any("truncated" in title for title in shown)
    every = {container.get_label() for container in every_row_figure(made).axes[0].containers}
    assert shown < every
    assert {"PQ on frozen features, trained at 16 bits and truncated", "DQN, trained at 16 bits and truncated"} <= every


def test_where_all_rows_are_drawn_there_is_no_second_figure(material):
    assert every_row_figure(material(make_record(), make_record("rq"))) is None
