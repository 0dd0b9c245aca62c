import pytest
import torch

from benchmarks.bench.report import Options, Promise, Report, as_written, make_pages, read_reports, render, write_report
from dpq.errors import InputError

OPTIONS = Options(torch.device("cpu"), 1, quick=True)


def report(measured=5.0):
    promise = Promise("times as fast", measured, 6.0, "at least")
    return Report("speed", "This against that.", {"Rows": [{"n": 1, "ratio": "5.00"}]}, [promise], ["A note."])


@pytest.mark.parametrize(
    ("value", "side", "kept"),
    [(6, "at least", True), (5, "at least", False), (6, "at most", True), (7, "at most", False)],
)
def test_a_promise_is_kept_on_its_side_and_at_the_bound(value, side, kept):
    assert Promise("", value, 6, side).kept == kept


def test_a_broken_promise_stands_in_bold():
    assert "| **no** " in render(as_written(report(5.0), OPTIONS))
    assert "**no**" not in render(as_written(report(6.0), OPTIONS))


def test_what_is_written_is_read_and_shown(tmp_path):
    path = write_report(tmp_path, report(), OPTIONS)
    assert path == tmp_path / "bench/speed.json"
    assert read_reports(tmp_path)["speed"]["promises"][0]["measured"] == 5.0
    (page,) = (content.decode() for content in make_pages(tmp_path).values())
    assert "## speed" in page and "This against that." in page and "A note." in page


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 2}', '{"schema_version": 1'])
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, content):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/odd.json").write_text(content)
    with pytest.raises(InputError, match=r"odd\.json"):
        read_reports(tmp_path)
