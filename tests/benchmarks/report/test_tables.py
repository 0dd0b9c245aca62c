import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.__main__ import main
from benchmarks.records.reported import marked, reported, reported_value
from benchmarks.records.store import as_record, write_record
from benchmarks.report.details import cost_table
from benchmarks.report.statistics import COLUMNS
from benchmarks.report.study import Study, sections_of
from benchmarks.report.tables import _latex, describe_setting, main_table, make_tables, order_notes, short_table
from benchmarks.setting.experiment import load_experiment
from dpq import InputError
from dpq.learning.settings import as_recorded
from tests.benchmarks.conftest import make_record
from tests.benchmarks.made_up import section

ROOT = Path(__file__).parents[3]


def put(folder, *records):
    for record in records:
        write_record(folder / "cifar10/runs" / f"{record['id']}.json", record)


def test_means_and_deviations_over_seeds():
    summary = section([make_record(seed=0, maps=(0.5, 0.6)), make_record(seed=1, maps=(0.7, 0.6))]).summary
    eight = summary[summary.bits == 8].iloc[0]
    assert eight["map"] == pytest.approx(0.6)
    assert eight["map_sd"] == pytest.approx(0.1 * 2**0.5)
    assert eight["seeds"] == 2
    assert eight["paper_map"] == 0.814
    assert eight["difference"] == pytest.approx(0.6 - 0.814)


def test_the_markdown_table_shows_ours_the_papers_and_their_status(tmp_path):
    put(tmp_path, make_record(maps=(0.8204, 0.8311)))
    text = make_tables(Study.read(tmp_path, "cifar10"))["table.md"]
    assert "0.820" in text
    assert "0.814†" in text  # DPQ at 8 bits was checked, not seen
    assert "+0.006" in text
    assert "0.785§" in text  # DTQ is unverified
    assert "† transcribed" in text
    assert "§ transcribed" in text
    assert "cifar10-jpeg" in text
    assert "original CIFAR-10 pixels" in text
    assert "0.315 " in text  # ITQ-CCA was seen: no mark


def test_the_heading_names_methods_with_a_width_of_their_own(tmp_path):
    dtq, dqn, other = make_record("dtq"), make_record("dqn"), make_record("dtq", variant="released")
    dtq["config"]["methods"]["dtq"]["embedding_dim"] = dtq["backbone"]["embedding_dim"] = 64
    other["config"]["methods"]["dtq"]["embedding_dim"] = 300
    dqn["config"]["methods"]["dqn"]["embedding_dim"] = 0
    heads = [make_record("csq", bits=(b,), maps=(0.5,), id=f"csq-paper-seed0-{b}bits-0123456789") for b in (16, 8)]
    for head in heads:
        head["backbone"]["embedding_dim"] = head["lengths"][0]["bits"]
    put(tmp_path, make_record(), dtq, dqn, other, *heads)
    (section,) = Study.read(tmp_path, "cifar10").sections
    own = "CSQ: 8/16-d; DTQ: 64-d"
    expected = f"300-d embedding ({own}; frozen features: the network's pooled width); label vectors: orthonormal"
    assert expected in describe_setting(section)
    put(tmp_path / "without", make_record())
    (section,) = Study.read(tmp_path / "without", "cifar10").sections
    assert "300-d embedding (frozen features: the network's pooled width)" in describe_setting(section)


def test_a_subset_is_never_put_beside_a_paper(tmp_path):
    record = make_record()
    record["config"]["limit"] = 100
    put(tmp_path, record)
    text = make_tables(Study.read(tmp_path, "cifar10"))["table.md"]
    assert "not comparable with any paper" in text
    assert "0.814" not in text
    assert "| DTQ" not in text


def test_settings_are_never_mixed(tmp_path):
    other = make_record(seed=1, maps=(0.1, 0.2))
    other["config"]["training"] = other["config"]["training"] | {"epochs": 1}
    put(tmp_path, make_record(), other)
    assert [len(found.records) for found in Study.read(tmp_path, "cifar10").sections] == [1, 1]
    assert make_tables(Study.read(tmp_path, "cifar10"))["table.md"].count("n = 1") == 2


def test_the_experiments_own_setting_comes_first():
    own, changed = make_record(), make_record(seed=1)
    own["config"]["training"] = as_recorded(load_experiment("cifar10").training)
    for records in ([own, changed, changed], [changed, own, changed]):
        assert sections_of([as_record(r) for r in records])[0].records == [as_record(own)]


def test_the_csv_holds_every_length_with_its_records(tmp_path):
    put(tmp_path, make_record(seed=0), make_record(seed=1))
    rows = list(csv.DictReader(io.StringIO(make_tables(Study.read(tmp_path, "cifar10"))["table.csv"])))
    assert [int(row["bits"]) for row in rows] == [8, 16]
    assert rows[0]["records"].split() == ["dpq-paper-seed0-0123456789", "dpq-paper-seed1-0123456789"]
    assert rows[0]["paper_status"] == "checked"


def test_the_latex_table_is_a_table(tmp_path):
    put(tmp_path, make_record())
    text = make_tables(Study.read(tmp_path, "cifar10"))["table.tex"]
    assert r"\begin{tabular}" in text
    assert r"0.814$^\dagger$" in text
    assert "mobilenetv2\\_100" in text


def test_the_command_ends_with_our_methods_and_their_picture(tmp_path, capsys):
    pq = [make_record("pq", bits=bits, maps=maps) for bits, maps in (((8,), (0.4,)), ((8, 16), (0.3, 0.45)))]
    pq = [record | {"id": f"pq-{place}"} for place, record in enumerate(pq)]
    put(tmp_path, make_record(maps=(0.5, 0.6)), make_record("rq-dpq", maps=(0.7, 0.8)), *pq)
    (tmp_path / "cifar10/map.png").write_bytes(b"")
    assert main(["table", "cifar10", "--output", str(tmp_path)]) == 0
    *_, head, _, above, below, picture = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, above, below)]
    assert cells[0] == ["mAP", "8 bits", "16 bits"]
    assert cells[1:] == [["PQ on frozen features", "0.400", "0.450"], ["DPQ", "0.500", "0.600"]]
    assert picture == f"its picture: {tmp_path / 'cifar10/map.png'}"


def test_controls_are_short_tables_where_nothing_else_is():
    lines = short_table(section([make_record("rq-dpq", maps=(0.7, 0.8))])).splitlines()
    assert len(lines) == 3
    assert "0.700" in lines[2]


def test_check_accepts_what_was_written_and_refuses_what_was_edited(tmp_path, capsys):
    put(tmp_path, make_record())
    assert main(["table", "cifar10", "--output", str(tmp_path)]) == 0
    assert main(["table", "cifar10", "--check", "--output", str(tmp_path)]) == 0
    path = tmp_path / "cifar10/table.md"
    path.write_text(path.read_text().replace("0.500", "0.900"))
    assert main(["table", "cifar10", "--check", "--output", str(tmp_path)]) == 2
    assert "is not what the records give" in capsys.readouterr().err


def test_what_only_reads_records_imports_nothing_slow():
    code = (
        "import sys; from benchmarks.__main__ import main\n"
        "assert main(['table', 'cifar10', '--check']) == 0\n"
        "print([name for name in ('torch', 'timm', 'sklearn', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.splitlines()[-1] == "[]"


def test_a_further_metric_is_a_line_in_the_list_of_columns(tmp_path, monkeypatch):
    monkeypatch.setitem(COLUMNS, "half_map", lambda length: length.map / 2)
    put(tmp_path, make_record(seed=0, maps=(0.5, 0.6)), make_record(seed=1, maps=(0.7, 0.6)))
    tables = make_tables(Study.read(tmp_path, "cifar10"))
    assert [row["half_map"] for row in csv.DictReader(io.StringIO(tables["table.csv"]))] == ["0.300000"] * 2
    (header,) = (line for line in tables["table.md"].splitlines() if "argsort order" in line)
    assert [cell.strip() for cell in header.split("|")][8:10] == ["argsort order", "half_map"]


def test_coarse_classes_have_a_column_where_there_are_any(tmp_path):
    record = make_record()
    plain = put(tmp_path / "plain", record) or make_tables(Study.read(tmp_path / "plain", "cifar10"))
    record["data"] |= {"variant": "cifar100-restored", "coarse": ["fish", "trees"], "copies_left_out": 26}
    record["lengths"] = [length | {"map_coarse": 0.75} for length in record["lengths"]]
    put(tmp_path, record)
    tables = make_tables(Study.read(tmp_path, "cifar10"))
    assert [row["map_coarse"] for row in csv.DictReader(io.StringIO(tables["table.csv"]))] == ["0.750000"] * 2
    assert tables["table.md"].count("mAP of coarse classes") == 2
    assert "left out: 26." in tables["table.md"]
    assert not any("coarse" in text for text in plain.values())


def test_what_newer_records_say_of_the_same_images_is_no_other_setting(tmp_path):
    older, newer = make_record(seed=0), make_record(seed=1)
    newer["data"]["re_encoded"] = {"horse": 6, "ship": 105}
    put(tmp_path, older, newer)
    (section,) = Study.read(tmp_path, "cifar10").sections
    assert len(section.records) == 2


@pytest.mark.parametrize("protocol", ["cifar100", "cifar100-unseen"])
def test_a_protocol_that_no_paper_has_shows_no_printed_value(tmp_path, protocol):
    record = make_record(protocol=protocol)
    record["data"]["variant"] = "cifar100-restored"
    put(tmp_path, record)
    tables = make_tables(Study.read(tmp_path, "cifar10"))
    assert "All images of `cifar100-restored` have the original CIFAR-100 pixels." in tables["table.md"]
    assert not re.search(r"Values of the papers|\| (paper|difference|missing)", tables["table.md"])
    assert {row["paper_map"] for row in csv.DictReader(io.StringIO(tables["table.csv"]))} == {""}


def test_no_records_is_said(tmp_path):
    with pytest.raises(InputError, match="no records under"):
        make_tables(Study.read(tmp_path, "cifar10"))


def test_every_reported_status_has_a_mark_and_missing_stays_missing():
    assert {marked((0.5, status)) for status in reported().status} <= {f"0.500{mark}" for mark in ("", *"‖†‡§¶")}
    assert reported_value("cifar10", "DPQ", 48) is None
    assert marked(None) == "missing"


def full_table():
    """Records of every kind of row: PQ and DQN by length with truncated codes, DPQ and a control once."""
    records = []
    for seed in (0, 1):
        shift = seed / 100
        for method, own in (("pq", (0.30, 0.31)), ("dqn", (0.60, 0.65))):
            short = make_record(method, seed=seed, bits=(8,), maps=(own[0] + shift,))
            long = make_record(method, seed=seed, bits=(8, 16), maps=(0.2, own[1] + shift))
            records += [short | {"id": f"{method}-{seed}-8"}, long | {"id": f"{method}-{seed}-16"}]
        records.append(make_record("dpq", seed=seed, maps=(0.55 + shift, 0.7 + shift)))
        records.append(make_record("pq-dpq", seed=seed, bits=(8, 16), maps=(0.5, 0.5)))
    return records


def rows_by_title(records):
    rows, title = {}, ""
    for row in main_table(section(records)).to_dict("records"):
        title = row["method"] or title
        rows[title, row["source"]] = row
    return rows


def test_a_method_trained_per_length_has_a_row_for_its_truncated_codes():
    rows = rows_by_title(full_table())
    own = rows["DQN", "ours, n = 2"]
    assert own["8 bits"] == "**0.605 ± 0.007**"
    assert own["16 bits"] == "0.655 ± 0.007"
    truncated = rows["DQN, trained at 16 bits and truncated", "ours, n = 2"]
    assert truncated["8 bits"] == "0.200 ± 0.000"
    assert truncated["16 bits"] == own["16 bits"]
    assert ("DQN, trained at 16 bits and truncated", "paper") not in rows
    assert not any("truncated" in title for title, _ in rows if "DPQ" in title and "PQ on" not in title)


def test_the_best_of_ours_at_each_length_is_bold():
    bold = [
        (title, bits)
        for (title, _), row in rows_by_title(full_table()).items()
        for bits in ("8 bits", "16 bits")
        if "**" in row[bits]
    ]
    assert bold == [("DQN", "8 bits"), ("DPQ", "16 bits")]


def test_a_mean_over_fewer_repetitions_than_others_is_not_called_the_best(tmp_path):
    put(tmp_path, *(make_record(seed=seed) for seed in range(2)), make_record("pq", bits=(8,), maps=(0.9,)))
    (made,) = Study.read(tmp_path, "cifar10").sections
    cells = [cell for row in main_table(made).fillna("").to_dict("records") for cell in row.values()]
    assert [cell for cell in cells if "**" in cell] == ["**0.600 \u00b1 0.000**"]


def test_rows_stand_in_the_papers_order_with_controls_last():
    titles = [row["method"] for row in main_table(section(full_table())).to_dict("records") if row["method"]]
    assert titles == [
        "ITQ-CCA",
        "PQ on frozen features",
        "PQ on frozen features, trained at 16 bits and truncated",
        "SQ",
        "DQN",
        "DQN, trained at 16 bits and truncated",
        "DVSQ",
        "DTQ",
        "DPQ",
        "PQ on DPQ's embedding",
        "PQ on DPQ's embedding, trained at 16 bits and truncated",
    ]


def test_controls_and_truncated_codes_have_no_paper_value():
    summary = section(full_table()).summary
    printed = set(summary[summary.paper_map.notna()].method + " " + summary[summary.paper_map.notna()].training)
    assert printed == {"dqn each", "dpq once"}


def test_an_order_unlike_the_papers_is_said():
    # In print DPQ is above DQN at every length; here DQN is above it at 8 bits.
    note = order_notes(section(full_table()))
    assert note == (
        "Order of methods unlike the papers': at 8 bits DQN above DPQ (0.605 and 0.555; in print 0.527 and 0.814)."
    )
    assert order_notes(section([make_record("dpq"), make_record("dqn", maps=(0.1, 0.2))])) == ""


def test_cost_counts_trainings_of_a_row():
    table = pd.DataFrame(cost_table(section(full_table()))).set_index("method")
    assert table.loc["DQN", "trainings"] == 2
    assert table.loc["DQN", "train s"] == "200.0"
    assert table.loc["DQN, trained at 16 bits and truncated", "trainings"] == 1
    assert table.loc["DQN, trained at 16 bits and truncated", "train s"] == "100.0"
    assert table.loc["DPQ", "trainings"] == 1


def test_trainings_of_different_longest_lengths_are_never_averaged():
    short = make_record("dpq", bits=(8,), maps=(0.3,)) | {"id": "short"}
    rows = rows_by_title([make_record("dpq", maps=(0.5, 0.6)), short])
    assert rows["DPQ", "ours, n = 1"]["8 bits"] == "**0.500**"
    assert rows["DPQ, trained at 8 bits", "ours, n = 1"]["8 bits"] == "0.300"


def test_the_latex_table_marks_the_best():
    records = full_table()
    assert r"\textbf{0.605 $\pm$ 0.007}" in _latex(section(records))
    assert "**" not in _latex(section(records))


def test_rows_with_uneven_seeds_say_so():
    records = full_table()
    records = [r for r in records if r["id"] != "dqn-1-8"]
    assert ("DQN", "ours, n = 1 to 2") in rows_by_title(records)


def test_codes_of_signs_have_a_row_by_real_queries_too(tmp_path):
    record = make_record() | {"score": "symmetric"}
    record["lengths"] = [length | {"map_asymmetric": 0.625 + i / 8} for i, length in enumerate(record["lengths"])]
    write_record(tmp_path / f"cifar10/runs/{record['id']}.json", record)
    tables = make_tables(Study.read(tmp_path, "cifar10"))
    asymmetric = [row["map_asymmetric"] for row in csv.DictReader(io.StringIO(tables["table.csv"]))]
    assert asymmetric == ["0.625000", "0.750000"]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in tables["table.md"].splitlines() if "ours" in line
    ]
    assert ["", "ours, by real queries", "0.625", "0.750"] in rows
    assert "Hamming distance" in tables["table.md"]
