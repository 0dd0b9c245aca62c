import numpy as np
import pytest
from scipy import stats

from benchmarks.report.pages.readme import BEGIN, END, with_main_result
from benchmarks.report.study import Study
from dpq.errors import InputError
from tests.benchmarks.made_up import each, made_up_identities, run, section

__all__ = ["made_up_identities"]

OWN = [(0.70, 0.72), (0.71, 0.73), (0.73, 0.74)]


@pytest.fixture
def study(tmp_path):
    records = [run("dpq", k, maps) for k, maps in enumerate(OWN)] + each("pq", 0, (0.2, 0.3))
    return Study(tmp_path, "cifar10", (section(records),))


def rows_of(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_what_stands_between_the_marks_is_made_anew_and_the_rest_stays(study):
    text = with_main_result(f"before\n{BEGIN}\nold\n{END}\nafter\n", [study])
    assert text.startswith(f"before\n{BEGIN}\n\n[![mAP")
    assert text.endswith(f"\n\n{END}\nafter\n")
    assert "old" not in text
    assert with_main_result(text, [study]) == text


def test_rows_are_ours_with_intervals_and_printed_ones(study):
    _, _, *rows = rows_of(with_main_result(BEGIN + END, [study]))
    eight = [maps[0] for maps in OWN]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(eight), scale=stats.sem(eight))
    assert rows[0][:3] == ["DPQ", "ours", f"{np.mean(eight):.3f} [{low:.3f}, {high:.3f}]"]
    assert rows[1][:2] == ["DPQ", "paper"]
    assert ["PQ on frozen features", "ours", "0.200", "0.300"] in rows
    assert {(row[0], row[1]) for row in rows} == {
        *(("DPQ", source) for source in ("ours", "paper")),
        ("DQN", "paper"),
        ("DTQ", "paper"),
        ("PQ on frozen features", "ours"),
    }


@pytest.mark.parametrize("text", ["nothing", BEGIN, END + BEGIN, BEGIN + END + END])
def test_marks_that_are_lost_are_named(study, text):
    with pytest.raises(InputError, match="nox -s results"):
        with_main_result(text, [study])
