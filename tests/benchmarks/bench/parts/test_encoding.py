import pytest
import torch

from benchmarks.bench.parts import encoding
from benchmarks.bench.report import Options, as_written, render

OPTIONS = Options(torch.device("cpu"), 1, quick=True)


def test_the_report_has_encoding_its_parts_and_the_bare_backbone():
    report = encoding.measure(OPTIONS)
    rows = {row["what"]: row for row in report.tables["Throughput"]}
    assert list(rows) == [encoding.WHOLE, encoding.BARE, encoding.COPY, "input from uint8 images", "codes alone"]
    assert rows[encoding.BARE]["time / bare"] == "1.00 (1.00 to 1.00)"
    assert all(row["images/s"] > 0 for row in rows.values())
    (promise,) = report.promises
    assert (promise.bound, promise.side) == (0.95, "at least")
    assert "128 images" in render(as_written(report, OPTIONS))


def test_what_layers_write_is_counted_with_the_input():
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Sequential(torch.nn.ReLU(inplace=True)))
    inputs = torch.zeros(2, 3, 5, 5)
    assert encoding.bytes_written(body, inputs) == 4 * 2 * 5 * 5 * (3 + 4 + 4)
    assert not any(module._forward_hooks for module in body.modules())


@pytest.mark.parametrize("size", [1, 10, 25])
def test_a_copy_moves_all_bytes(size, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK", 10)
    copied = []
    monkeypatch.setattr(torch.Tensor, "copy_", lambda _target, source: copied.append(source.nbytes))
    encoding.copying(size, torch.device("cpu"))()
    assert sum(copied) == size
