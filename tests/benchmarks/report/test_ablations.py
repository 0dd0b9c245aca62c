import csv
import io

import pytest

from benchmarks.records.store import as_record, write_record
from benchmarks.report.details import ablation_section
from benchmarks.report.study import Study, sections_of
from benchmarks.report.tables import make_tables
from dpq import InputError
from tests.benchmarks.conftest import make_record
from tests.benchmarks.made_up import section


def make_ablated(name, switch, seed=0, maps=(0.5, 0.6), of=None, **changes):
    record = make_record(seed=seed, maps=maps)
    record |= {"id": f"dpq-paper-{name}-seed{seed}-abcdefabcd", "ablation": name}
    record["ablation_of"] = of or f"dpq-paper-seed{seed}-0123456789"
    record["config"]["methods"]["dpq"] |= switch
    record["config"] |= changes
    return record


def no_margin(seed, maps, **changes):
    return make_ablated("no-margin", {"margin": 0.0}, seed, maps, **changes)


PLAIN = [make_record(seed=seed, maps=maps) for seed, maps in enumerate([(0.50, 0.60), (0.54, 0.64), (0.9, 0.9)])]


def put(folder, *records):
    for record in records:
        write_record(folder / "cifar10/runs" / f"{record['id']}.json", record)


def cells(text):
    """Rows of a Markdown table, by title and what stands in them."""
    rows, title = {}, ""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ablation"):
            row = [cell.strip() for cell in line.strip("|").split("|")]
            title = row[0] or title
            rows[title, row[2]] = row
    return rows


def test_differences_are_taken_seed_by_seed():
    summary = section(PLAIN, [no_margin(0, (0.4, 0.6)), no_margin(1, (0.5, 0.7))]).ablations
    eight = summary[summary.bits == 8].iloc[0]
    assert (eight.seeds, eight.pairs) == (2, 2)
    assert eight["map"] == pytest.approx(0.45)
    assert eight["map_sd"] == pytest.approx(0.1 / 2**0.5)
    assert eight["difference"] == pytest.approx(-0.07)  # the third seed of DPQ takes no part
    assert eight["difference_sd"] == pytest.approx(0.06 / 2**0.5)


def test_a_seed_without_dpq_counts_for_the_mean_but_not_for_the_difference():
    summary = section(PLAIN, [no_margin(0, (0.4, 0.6)), no_margin(7, (0.8, 0.8))]).ablations
    eight = summary[summary.bits == 8].iloc[0]
    assert (eight.seeds, eight.pairs) == (2, 1)
    assert eight["map"] == pytest.approx(0.6)
    assert eight["difference"] == pytest.approx(-0.1)


def test_the_section_shows_dpq_of_the_same_seeds_then_every_ablation_in_order():
    frozen = make_ablated("frozen", {"train_backbone": False}, maps=(0.2, 0.3))
    text = ablation_section(section(PLAIN, [frozen, no_margin(0, (0.4, 0.6)), no_margin(1, (0.5, 0.7))]))
    rows = cells(text)
    assert list(dict.fromkeys(title for title, _ in rows if not title.startswith(":"))) == [
        "DPQ",
        "no margin loss",
        "frozen backbone (heads and codebooks learn)",
    ]
    assert rows["DPQ", "mAP, n = 2"][3:5] == ["0.520 ± 0.028", "0.620 ± 0.028"]
    assert rows["no margin loss", "mAP, n = 2"][1:5] == [
        "`margin = 0.0`",
        "mAP, n = 2",
        "0.450 ± 0.071",
        "0.650 ± 0.071",
    ]
    assert rows["no margin loss", "difference, n = 2"][3:5] == ["-0.070 ± 0.042", "+0.030 ± 0.042"]
    assert rows["frozen backbone (heads and codebooks learn)", "difference, n = 1"][3:5] == ["-0.300", "-0.300"]
    assert "no run of DPQ" not in text


def test_ablated_records_never_enter_the_main_table_nor_its_csv_and_tex(tmp_path):
    put(tmp_path, *PLAIN)
    alone = make_tables(Study.read(tmp_path, "cifar10"))
    assert "Ablations" not in alone["table.md"]
    put(tmp_path, no_margin(0, (0.98, 0.99)))
    both = make_tables(Study.read(tmp_path, "cifar10"))
    assert both["table.csv"] == alone["table.csv"]
    assert both["table.tex"] == alone["table.tex"]
    before, _, after = both["table.md"].partition("Ablations of DPQ")
    own, rest = alone["table.md"].split("Cost of one seed")
    assert before == own
    assert after.endswith(rest)
    assert set(both) - set(alone) == {"ablations.csv"}


def test_the_csv_holds_every_length_with_the_records(tmp_path):
    put(tmp_path, *PLAIN, no_margin(0, (0.4, 0.6)), no_margin(1, (0.5, 0.7)))
    tables = make_tables(Study.read(tmp_path, "cifar10"))
    rows = list(csv.DictReader(io.StringIO(tables["ablations.csv"])))
    assert [(row["ablation"], row["bits"], row["difference"]) for row in rows] == [
        ("no-margin", "8", "-0.070000"),
        ("no-margin", "16", "0.030000"),
    ]
    assert rows[0]["records"].split() == [
        "dpq-paper-no-margin-seed0-abcdefabcd",
        "dpq-paper-no-margin-seed1-abcdefabcd",
    ]
    assert rows[0]["setting"] == next(csv.DictReader(io.StringIO(tables["table.csv"])))["setting"]


def test_words_stand_with_the_run_they_are_an_ablation_of_though_their_setting_differs():
    words = make_ablated("words", {}, label_vectors={"source": "words.txt", "sha256": "d" * 64})
    (only,) = sections_of([as_record(record) for record in (words, *PLAIN)])
    assert [record.id for record in only.ablated] == [words["id"]]
    rows = cells(ablation_section(only))
    assert rows["word vectors as label vectors", "mAP, n = 1"][1] == "`label_vectors = words.txt`"


def test_ablations_of_a_setting_without_dpq_have_a_section_of_their_own(tmp_path):
    stray = no_margin(0, (0.4, 0.6), of="dpq-paper-seed0-ffffffffff")
    stray["config"]["training"] = stray["config"]["training"] | {"epochs": 1}
    put(tmp_path, *PLAIN, stray)
    text = make_tables(Study.read(tmp_path, "cifar10"))["table.md"]
    first, second = text.split("\n## ")[1:]
    assert "no margin loss" not in first
    assert second.startswith("cifar10-jpeg: 1 epochs")
    assert "no run of DPQ with the same seed, setting and code lengths is recorded" in second
    assert "difference, n" not in second


def test_records_of_ablations_alone_are_no_table(tmp_path):
    put(tmp_path, no_margin(0, (0.4, 0.6)))
    with pytest.raises(InputError, match="no records under"):
        make_tables(Study.read(tmp_path, "cifar10"))


def test_an_unknown_ablation_is_named(tmp_path):
    put(tmp_path, *PLAIN, make_ablated("no-labels", {}))
    with pytest.raises(
        InputError, match="dpq-paper-no-labels-seed0-abcdefabcd is of the ablation 'no-labels'; known are"
    ):
        make_tables(Study.read(tmp_path, "cifar10"))
