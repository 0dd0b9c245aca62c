import pytest

from benchmarks.bench.parts import startup
from benchmarks.bench.report import Options


def test_every_command_is_measured_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(startup, "CHECK", "benchmarks figures --help")
    report = startup.measure(Options("cpu", 1, quick=True))
    (rows,) = report.tables.values()
    assert [row["command"].split()[2] for row in rows] == ["benchmarks"] * 3 + ["dpq", "benchmarks"]
    assert all(5 < float(row["MiB"]) < 2**12 and 0 < float(row["seconds"]) < 600 for row in rows)


@pytest.mark.parametrize("command", ["--help", "run nope", "index --help"])
def test_what_is_measured_is_the_command(command):
    seconds, peak = startup._run(f"dpq {command}" if "index" in command else f"benchmarks {command}")
    assert seconds > 0.01 and peak > 1000
