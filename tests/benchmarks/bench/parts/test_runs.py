import pickle

import pytest
import torch

from benchmarks.bench.calls import PHASES, WHOLE
from benchmarks.bench.growth_figure import ONCE, points_of
from benchmarks.bench.parts import runs
from benchmarks.bench.report import Options, make_pages, write_report

QUICK = Options(torch.device("cpu"), 1, quick=True)
FULL = Options(torch.device("cpu"), 1)


def made_up(case, *_):
    """Costs that grow with the images' square, not with classes, with the root of bits, and with seeds."""
    images, _classes, bits, seeds = case
    return {WHOLE: images**2 * bits**0.5 * seeds, runs.MEMORY: images / 7}


def test_what_grows_and_what_stays(monkeypatch):
    cases = []
    monkeypatch.setattr(runs, "_measured", lambda case, *rest: cases.append(case) or made_up(case, *rest))
    exponents, points, memory = runs.measure(FULL).tables.values()
    found = {(row["cost"], row["grows with"]): float(row["exponent"]) for row in exponents}
    assert found == {
        (WHOLE, "images"): 2,
        (WHOLE, "classes"): 0,
        (WHOLE, "bits"): 0.5,
        (WHOLE, "seeds"): 1,
        (runs.MEMORY, "images"): 1,
        **{(runs.MEMORY, grown): 0 for grown in ("classes", "bits", "seeds")},
    }
    assert len(cases) == len(set(cases)) == 13  # what several ladders share is run once
    assert next(sizes for *_, sizes, _ in points_of(points)) == [1024, 2048, 4096, 8192]
    assert all(
        row["MiB"] == pytest.approx(row["size"] / 7, rel=1e-3) for row in memory if row["grows with"] == "images"
    )


def test_the_figure_is_of_the_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "_measured", made_up)
    report = runs.measure(QUICK)
    assert ONCE in report.tables
    write_report(tmp_path, report, QUICK)
    files = make_pages(tmp_path)
    assert set(files) == {"bench/README.md", "bench/runs.svg", "bench/runs.png"}
    assert b"grows: seconds, and" in files["bench/README.md"]


def test_a_run_is_measured_as_another_process_would_be_told(tmp_path, monkeypatch):
    def here(*sent):
        prepare, given, work = pickle.loads(pickle.dumps(sent))
        return work(prepare(*given)), 12.5

    monkeypatch.setenv("DPQ_CACHE", "elsewhere")  # and is restored
    monkeypatch.setattr(runs, "extra_memory", here)
    found = runs._measured((512, 4, 8, 1), "cpu", tmp_path)
    assert list(found) == [WHOLE, *PHASES, runs.MEMORY]
    assert found[WHOLE] > found["train"] > 0
    assert found["evaluate"] >= runs.LEAST
    assert found[runs.MEMORY] == 12.5
