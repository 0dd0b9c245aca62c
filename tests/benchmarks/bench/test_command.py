import json
import sys

import pytest
import torch

from benchmarks.bench import __main__ as bench


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_benchmark_is_printed_and_written_with_its_page(capsys, tmp_path):
    assert bench.main(["scale", "--quick", "--threads", "1", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| 32  " in printed and "at most 1024" in printed
    report = json.loads((tmp_path / "bench/scale.json").read_text())
    assert report["name"] == "scale" and report["quick"] and report["environment"]["threads"] == 1
    assert "## scale" in (tmp_path / "bench/README.md").read_text()


@pytest.mark.parametrize("arguments", [["nope"], ["--threads", "0"], ["--device", "abacus"]])
def test_a_mistake_is_one_line(capsys, arguments):
    assert bench.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_names_every_benchmark(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in bench.BENCHMARKS)


def test_without_faiss_its_benchmarks_say_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delitem(sys.modules, "benchmarks.bench.parts.search", raising=False)
    assert bench.main(["search", "--quick"]) == 2
    assert "needs faiss; install it" in capsys.readouterr().err
