import numpy as np
import pytest

from benchmarks.figures.data import data_figure
from tests.benchmarks.conftest import make_record
from tests.benchmarks.figures.conftest import curve

ON_A, ON_B = [(0.90, 0.92), (0.91, 0.93), (0.92, 0.94)], [(0.80, 0.81), (0.82, 0.85)]


def copies(maps, variant):
    records = [make_record(seed=seed, maps=pair) for seed, pair in enumerate(maps)]
    return [one | {"id": f"{one['id']}-{variant}", "data": one["data"] | {"variant": variant}} for one in records]


def test_each_copy_of_the_images_is_a_curve_of_its_own(material):
    figure = data_figure(material(*copies(ON_A, "cifar10-restored"), *copies(ON_B, "cifar10-jpeg")))
    (axes,) = figure.axes
    for title, maps in (("cifar10-restored", ON_A), ("cifar10-jpeg", ON_B)):
        assert curve(axes, title)[1] == pytest.approx(np.mean(maps, axis=0))
    assert "n = 2 to 3 seeds" in figure.get_suptitle()
    assert "cifar10-" not in figure.get_suptitle()


def test_one_copy_or_another_setting_is_no_comparison(material):
    other = copies(ON_B, "cifar10-jpeg")
    for record in other:
        record["config"] = record["config"] | {"limit": 100}
    assert data_figure(material(*copies(ON_A, "cifar10-restored"), *other)) is None


def test_a_copy_without_the_method_is_left_out(material):
    copy = copies(ON_B[:1], "cifar10-jpeg")[0] | {"method": "rq"}
    copy["config"] = make_record("rq")["config"]
    assert data_figure(material(*copies(ON_A, "cifar10-restored"), copy)) is None
