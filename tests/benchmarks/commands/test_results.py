import re
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.bench.report import Options, Report, write_report
from benchmarks.commands.results import make_all, published
from benchmarks.records import store as records
from benchmarks.records.store import write_record
from benchmarks.report import generated
from benchmarks.report.claims import find
from benchmarks.report.pages.results import make_results_page
from benchmarks.report.study import Study
from dpq.errors import InputError
from tests.benchmarks.conftest import make_record
from tests.benchmarks.made_up import each, run

ROOT = Path(__file__).parents[3]
GENERATED = ("README.md", "CLAIMS.md", "results.csv", "cifar10/rows.md", "cifar10/ablations.csv", "cifar10/map.png")


def write_all(output):
    return generated.write(output, *make_all(output))


def check_all(output):
    return generated.check(output, *make_all(output), "results")


def put(folder, *records, experiment="cifar10"):
    for record in records:
        write_record(folder / experiment / "runs" / f"{record['id']}.json", record | {"experiment": experiment})


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """Figures have tests of their own, and take seconds to draw."""
    drawn = {"map.svg": b"a drawing", "map.png": b"a picture"}
    monkeypatch.setattr("benchmarks.figures.make_figures", lambda study: dict(drawn))
    return drawn


@pytest.fixture
def output(tmp_path):
    """Results of two settings, with an ablation."""
    plain = [make_record(seed=seed, maps=(0.5 + seed / 100, 0.6)) for seed in range(2)]
    ablated = make_record(maps=(0.4, 0.5)) | {
        "id": "dpq-paper-no-soft-seed0-0000000000",
        "ablation": "no-soft",
        "ablation_of": plain[0]["id"],
    }
    ablated["config"]["methods"]["dpq"] = ablated["config"]["methods"]["dpq"] | {"soft_terms": False}
    put(tmp_path, *plain, ablated, make_record("rq"))
    put(tmp_path, make_record(), experiment="cifar10-cpu")
    return tmp_path


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_what_is_checked(output):
    written = write_all(output)
    assert check_all(output) == len(written)
    before = files(output)
    write_all(output)
    assert files(output) == before
    assert {"README.md", "CLAIMS.md", "cifar10/table.md", "cifar10/rows.md", "cifar10/map.svg"} <= set(before)


def test_one_file_has_every_length_of_every_record(output):
    """Trained for each length, truncated, or an ablation; what a row is of stands in it."""
    put(output, *each("dqn", 0, (0.3, 0.4)))
    write_all(output)
    table = pd.read_csv(output / "results.csv")
    by_row = table.groupby(["experiment", "method", "training", table["ablation"].fillna("")]).size().to_dict()
    assert by_row == {
        ("cifar10", "dpq", "once", ""): 4,  # two seeds, two lengths
        ("cifar10", "dpq", "once", "no-soft"): 2,
        ("cifar10", "rq", "once", ""): 2,
        ("cifar10", "dqn", "each", ""): 2,
        ("cifar10", "dqn", "truncated", ""): 2,
        ("cifar10-cpu", "dpq", "once", ""): 2,
    }
    row = table.query("experiment == 'cifar10' and seed == 1 and bits == 8 and method == 'dpq'").iloc[0]
    assert (row["map"], row["map_total"], row["precision_at_10"], row["float_map"]) == (0.51, 0.49, 0.8, 0.7)
    assert (row["data"], row["fingerprint"], row["epochs"], row["device"]) == (
        "cifar10-jpeg",
        "f" * 64,
        4,
        "a processor, 2 threads",
    )
    assert (row["train_seconds"], row["encode_seconds"], row["evaluate_seconds"]) == (100, 10, 1)
    assert all((output / path).is_file() for path in table["record"])
    assert not {"run", "unit", "id"} & set(table)


def test_every_column_is_explained():
    columns = pd.read_csv(ROOT / "results/results.csv", nrows=0).columns
    page = (ROOT / "docs/tables.md").read_text(encoding="utf-8").partition("## All rows in one file")[2]
    named = set(re.findall(r"`(\w+)`", page.partition("\n## ")[0]))
    told = {re.sub(r"(precision_at|map_at)_\d+$", r"\1_K", column) for column in columns}
    assert told - named == set()


def test_rows_are_written_as_parquet(output, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    assert main(["results", "--parquet", str(path), "--output", str(output)]) == 0
    assert not (output / "README.md").exists()
    write_all(output)
    found, expected = pd.read_parquet(path), pd.read_csv(output / "results.csv")
    assert list(found) == list(expected)
    assert found["map"].tolist() == pytest.approx(expected["map"].tolist(), abs=1e-6)
    assert found["ablation"].fillna("").tolist() == expected["ablation"].fillna("").tolist()


def test_without_pyarrow_parquet_is_refused_in_one_line(output, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["results", "--parquet", str(tmp_path / "rows.parquet"), "--output", str(output)]) == 2
    assert capsys.readouterr().err == "error: Parquet files need pyarrow; install it with: pip install '.[parquet]'\n"
    assert not (tmp_path / "rows.parquet").exists()


def test_every_record_is_read_once(output, monkeypatch):
    seen, read = [], records.read_measured
    monkeypatch.setattr(records, "read_measured", lambda path: seen.append(path) or read(path))
    write_all(output)
    assert sorted(seen) == sorted(output.glob("*/runs/*.json"))


@pytest.mark.parametrize("name", GENERATED)
def test_a_changed_byte_is_found(output, name):
    write_all(output)
    content = bytearray((output / name).read_bytes())
    content[-2] ^= 1
    (output / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        check_all(output)


def test_a_changed_number_of_a_record_is_found(output):
    write_all(output)
    put(output, make_record(seed=1, maps=(0.52, 0.6)))
    with pytest.raises(InputError, match="is not what the records give"):
        check_all(output)


def test_files_of_records_that_are_gone_are_named_and_removed(output):
    write_all(output)
    next((output / "cifar10/runs").glob("*no-soft*")).unlink()
    write_all(output)
    assert not (output / "cifar10/ablations.csv").exists()
    (output / "cifar10/ablations.csv").write_text("old")
    with pytest.raises(InputError, match=r"ablations.csv is made from no record"):
        check_all(output)


def bench(output):
    report = Report("speed", "This against that.", {"Rows": [{"n": 1}]})
    return write_report(output, report, Options(torch.device("cpu"), 1))


def test_benchmarks_of_speed_have_a_page_that_the_first_one_leads_to(output):
    write_all(output)
    assert "bench/" not in (output / "README.md").read_text(encoding="utf-8")
    path = bench(output)
    with pytest.raises(InputError, match="is not what the records give"):
        check_all(output)
    write_all(output)
    check_all(output)
    assert "(bench/README.md)" in (output / "README.md").read_text(encoding="utf-8")
    check_links(output, "README.md")
    assert "This against that." in (output / "bench/README.md").read_text(encoding="utf-8")
    path.unlink()
    with pytest.raises(InputError, match=r"README\.md"):
        check_all(output)
    write_all(output)
    assert not (output / "bench/README.md").exists()


def test_a_page_of_speed_without_reports_is_named(output):
    write_all(output)
    (output / "bench").mkdir()
    (output / "bench/growth.svg").write_text("old")
    with pytest.raises(InputError, match=r"growth.svg is made from no record"):
        check_all(output)


def test_digits_and_empty_folders_are_not_published(tmp_path):
    put(tmp_path, make_record(), experiment="digits")
    with pytest.raises(InputError, match="no records of a published experiment"):
        published(tmp_path)


def links_of(text):
    return re.findall(r"\]\(([^)\s]+)\)", text)


def check_links(folder, page):
    """Every relative link of a page leads to a file, and to an anchor in it."""
    text = (folder / page).read_text(encoding="utf-8")
    for link in links_of(text):
        if link.startswith("http"):
            continue
        target, _, anchor = link.partition("#")
        path = ((folder / page).parent / target) if target else folder / page
        if "../" not in link:  # the repository is not around made-up results
            assert path.exists(), link
        if anchor:
            assert f'<a id="{anchor}"></a>' in path.read_text(encoding="utf-8"), link


def test_every_link_leads_somewhere(output):
    write_all(output)
    for page in ("README.md", "CLAIMS.md", "cifar10/rows.md"):
        check_links(output, page)


def test_every_number_of_ours_is_a_link(output):
    write_all(output)
    page = (output / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if "| ours," in line or "| exact search, float" in line]
    assert rows
    for cell in (cell.strip() for row in rows for cell in row[2:]):
        assert not cell or re.fullmatch(r"(\*\*)?\[[0-9.± ]+\]\(\S+#\S+\)(\*\*)?", cell), cell
    assert "[0.505" in page  # the mean of 0.50 and 0.51


def first_screen(folder):
    studies = [Study.read(folder, "cifar10")]
    return make_results_page(studies, find(studies), (), {}).split("## What was run")[0]


def test_the_first_screen_answers_the_questions_of_a_reader(tmp_path):
    for seed in range(3):
        put(tmp_path, run("dpq", seed, (0.7 + seed / 1000, 0.72)))
        put(tmp_path, *each("dtq", seed, (0.1, 0.1 + seed / 1000)))
    screen = first_screen(tmp_path)
    said = {line.partition("**")[2].partition("?**")[0]: line for line in screen.splitlines() if line.startswith("- ")}
    rivals = said["Is it better than its rivals, and as good as printed"]
    assert re.search(r"DPQ is better than: DTQ \*\*holds\*\*, \[\+0\.61\d \(", rivals)
    assert "(CLAIMS.md#better-than-dtq) in `cifar10`" in rivals
    assert "not run ([DQN](CLAIMS.md#better-than-dqn), [PQ on frozen features](CLAIMS.md#better-than-pq))" in rivals
    assert re.search(r"DPQ reaches the printed mAP: printed 0\.823\S* \*\*does not hold\*\*", rivals)
    assert ": [not run](CLAIMS.md#one-training)." in said["Does one training for all lengths cost anything"]
    assert not re.search(r"- \d", screen)  # verdicts are not counted


def test_a_question_is_answered_in_the_first_setting_that_has_runs(tmp_path):
    put(tmp_path / "one", run("dpq", 0, (0.7, 0.72)))
    for seed in range(2):
        put(tmp_path / "two", run("dpq", seed, (0.7, 0.72)), *each("dtq", seed, (0.1, 0.1)))
    one, two = (Study.read(tmp_path / name, "cifar10") for name in ("one", "two"))
    further = [replace(found, section=replace(found.section, experiment="cifar10-cpu")) for found in find([two])]
    screen = make_results_page([one], [*find([one]), *further], (), {}).split("## What was run")[0]
    assert re.search(r"DTQ \*\*holds\*\*, \[\+0\.61\d.*?\]\(CLAIMS.md#better-than-dtq\) in `cifar10-cpu`", screen)
    assert re.search(r"in `cifar10`\.", screen)  # the printed values, by the first


def test_the_pages_that_are_cited_are_short():
    pages = [(ROOT / "results" / page).read_text(encoding="utf-8") for page in ("README.md", "CLAIMS.md")]
    assert sum(len(re.sub(r"\]\(\S+\)", "]", page).split()) for page in pages) <= 4000


def test_the_command_checks_and_writes(output, capsys):
    assert main(["results", "--check", "--output", str(output)]) == 2
    assert main(["results", "--output", str(output)]) == 0
    assert main(["results", "--check", "--output", str(output)]) == 0
    assert main(["results", "--output", str(output / "nothing")]) == 2
    assert "no records" in capsys.readouterr().err


@pytest.mark.parametrize("page", ["README.md", "CLAIMS.md"])
def test_links_of_the_committed_pages_lead_somewhere(page):
    check_links(ROOT / "results", page)
    for link in links_of((ROOT / "results" / page).read_text(encoding="utf-8")):
        if link.startswith("../"):
            assert (ROOT / "results" / link).exists()
