import dataclasses
import json

import pytest
import torch

from benchmarks.bench.growth_figure import POINTS, exponent, growth_figure, points_of
from benchmarks.bench.parts import growth
from benchmarks.bench.report import Options, Report, as_written, make_pages, write_report
from benchmarks.figures.style import style

QUICK = Options(torch.device("cpu"), 1, quick=True)


def made_up(power=2.0):
    """A report of two costs over images and one over batches."""
    rows = [
        {"cost": cost, "grows with": grown, "size": size, "seconds": 0.1 * size**power}
        for cost, grown in (("evaluation", "images"), ("encoding", "images"), ("training step", "batch"))
        for size in (10, 20, 40)
    ]
    return Report("growth", "", {POINTS: rows})


def written(report):
    return json.loads(json.dumps(as_written(report, QUICK)))


def test_the_exponent_is_the_power():
    assert exponent([1, 2, 8], [3, 12, 192]) == pytest.approx(2)


def test_every_cost_grows_with_all_that_it_depends_on():
    exponents, points = growth.measure(QUICK).tables.values()
    grown = [(row["cost"], row["grows with"]) for row in exponents]
    assert len(grown) == len(set(grown)) == 12
    assert {by for cost, by in grown if cost == "training step"} == {"batch", "levels", "codewords"}
    curves = list(points_of(points))
    assert [(cost, by) for cost, by, *_ in curves] == grown
    assert all(sizes == sorted(set(sizes)) and min(seconds) > 0 for *_, sizes, seconds in curves)


def test_the_figure_has_a_panel_for_each_size_that_grows_with_points_and_exponents():
    with style("bench"):
        images, batch = growth_figure(written(made_up())).axes
    assert (images.get_xlabel(), batch.get_xlabel()) == ("images N", "images of a batch B")
    assert images.get_legend_handles_labels()[1] == ["evaluation, $N^{2.00}$", "encoding, $N^{2.00}$"]
    points = batch.get_legend_handles_labels()[0][0]
    assert points.get_ydata() == pytest.approx([10, 40, 160])


def test_the_page_shows_a_figure_that_is_the_same_for_the_same_report(tmp_path):
    assert make_pages(tmp_path) == {}
    write_report(tmp_path, made_up(), QUICK)
    files = make_pages(tmp_path)
    assert set(files) == {"bench/README.md", "bench/growth.svg", "bench/growth.png"}
    assert b"](growth.svg)" in files["bench/README.md"]
    assert make_pages(tmp_path) == files
    write_report(tmp_path, made_up(power=1.0), QUICK)
    assert make_pages(tmp_path)["bench/growth.svg"] != files["bench/growth.svg"]


def test_other_reports_have_no_figure(tmp_path):
    write_report(tmp_path, dataclasses.replace(made_up(), name="other"), QUICK)
    assert set(make_pages(tmp_path)) == {"bench/README.md"}
