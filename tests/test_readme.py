"""What the README shows is what the repository holds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert 0 < float(capsys.readouterr().out) <= 1


def test_the_main_result_is_what_the_records_give():
    from benchmarks.report.pages.readme import with_main_result
    from benchmarks.report.study import Study

    assert with_main_result(README, [Study.read(ROOT / "results", "cifar10")]) == README


def test_it_is_short():
    assert len(README.splitlines()) <= 120


def test_links_to_files_are_alive():
    targets = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_ci_calls_the_test_command():
    (command,) = re.findall(r"^    (.* -s tests)$", README, re.MULTILINE)
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize("experiment", ["cifar10", "cifar10-cpu"])
def test_committed_tables_are_what_the_records_give(experiment):
    from benchmarks.__main__ import main
    from benchmarks.records.store import read_records

    assert main(["table", experiment, "--check", "--output", str(ROOT / "results")]) == 0
    for record in read_records(ROOT / "results", experiment):
        assert re.fullmatch(r"[0-9a-f]{40}", record.environment.commit), record.id
