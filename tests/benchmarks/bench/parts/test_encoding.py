import torch

from benchmarks.bench.parts import encoding
from benchmarks.bench.report import Options, as_written, render

OPTIONS = Options(torch.device("cpu"), 1, quick=True)


def test_the_report_has_encoding_its_parts_and_the_bare_backbone():
    report = encoding.measure(OPTIONS)
    rows = {row["what"]: row for row in report.tables["Throughput"]}
    assert list(rows) == [encoding.WHOLE, encoding.BARE, "input from uint8 images", "codes alone"]
    assert rows[encoding.BARE]["time / bare"] == "1.00 (1.00 to 1.00)"
    assert all(row["images/s"] > 0 for row in rows.values())
    (promise,) = report.promises
    assert (promise.bound, promise.side) == (0.95, "at least")
    assert "128 images" in render(as_written(report, OPTIONS))
