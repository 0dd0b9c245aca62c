"""The methods of this project as the registry lists them."""

import subprocess
import sys

import pytest

from benchmarks.setting.experiment import load_experiment
from benchmarks.setting.methods import METHODS
from benchmarks.tuning.space import is_choice
from dpq.learning.entry import FACTS, FEATURES

WITHOUT_TORCH = """
import sys
from benchmarks.setting import ablations
from benchmarks.setting.experiment import known_experiments, load_experiment
from benchmarks.setting.methods import METHODS
from benchmarks.tuning.space import is_choice
assert all(METHODS[name].title and METHODS[name].style for name in METHODS.own)
assert all(load_experiment(name).training.epochs for name in known_experiments())
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("name", METHODS.own)
def test_what_is_read_from_the_file_is_what_the_entry_says(name):
    method = METHODS[name]
    said = {fact: getattr(method.entry, fact) for fact in FACTS}
    assert {fact: getattr(method, fact) for fact in FACTS} == said | {"features": said["features"] or method.features}
    assert said["features"] or method.features == FEATURES[method.source]
    assert (method.table is None) == (method.entry.config is None)


@pytest.mark.parametrize("name", METHODS.own)
def test_defaults_are_in_the_ranges_in_which_they_are_tuned(name):
    entry = METHODS[name].entry
    for field, range_ in entry.ranges.items():
        value = getattr(entry.config(), field)
        assert value in range_ if is_choice(range_) else range_[0] <= value <= range_[1], field


def test_methods_stand_as_in_the_papers_then_the_controls():
    orders = [METHODS[name].order for name in METHODS.own]
    assert orders == sorted(set(orders))  # no two have one place
    assert list(METHODS.own).index("pq") < list(METHODS.own).index("dqn") < list(METHODS.own).index("dpq")
    on_dpq = [method.source == "dpq" for method in METHODS.own.values()]
    assert on_dpq == sorted(on_dpq)
    assert len({method.style for method in METHODS.own.values()}) == len(METHODS.own)


def test_what_reports_need_of_methods_and_settings_imports_no_torch():
    assert subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=False).returncode == 0


def test_a_variant_is_written_out_for_the_methods_that_have_it():
    paper, released = (load_experiment("digits").with_variant(variant) for variant in ("paper", "released"))
    tables = {method.table for method in METHODS.own.values() if method.table}
    changed = {table for table in tables if paper.settings_of(table) != released.settings_of(table)}
    assert changed == {method.table for method in METHODS.own.values() if "released" in method.variants}
    assert all(released.settings_of(table) == paper.settings_of(table).released() for table in changed)
