"""Pages of rows: every record once a row that it stands in, under a command, with links that lead somewhere."""

import re

import pytest

from benchmarks.records.store import read_records, write_record
from benchmarks.report.pages.anchors import anchor_of, anchors_of
from benchmarks.report.pages.commands import checkout_of, command_of
from benchmarks.report.pages.results import linked
from benchmarks.report.pages.rows import make_row_page
from benchmarks.report.statistics import TRAININGS, row_title
from benchmarks.report.study import Study
from benchmarks.report.tables import make_tables
from benchmarks.setting.ablations import ABLATIONS
from benchmarks.setting.methods import METHODS
from dpq import InputError
from tests.benchmarks.conftest import make_record
from tests.benchmarks.shipped import RECORDS, RESULTS, changed, is_of_today, made_up

EXPERIMENTS = sorted({path.parts[-3] for path in RECORDS})


def put(folder, *records):
    for record in records:
        write_record(folder / record["experiment"] / "runs" / f"{record['id']}.json", record)


def complete(record, maps=(0.5, 0.6, 0.7, 0.8), **data):
    """A made-up record of a shipped setting, with numbers."""
    bits = tuple(record["config"]["bits"])
    whole = make_record(record["method"], bits=bits, maps=maps[: len(bits)])
    whole["data"] |= record["data"] | data
    whole["backbone"] |= record["backbone"]
    whole["environment"] |= record["environment"]
    return whole | {key: value for key, value in record.items() if key not in ("data", "backbone", "environment")}


def rows_on(text):
    """By anchor: the title, the block of commands, and the lines of the table as dictionaries."""
    found = {}
    for part in text.split('<a id="')[1:]:
        anchor, rest = part.split('"></a>\n\n### ', 1)
        title, rest = rest.split("\n", 1)
        table = [[cell.strip() for cell in line.strip("|").split("|")] for line in rest.splitlines() if line[:1] == "|"]
        block = re.search(r"```bash\n(.*?)\n```", rest, re.S)[1]
        found[anchor] = (title, block, [dict(zip(table[0], line, strict=True)) for line in table[2:]])
    return found


def identity(line):
    return re.fullmatch(r"\[(.+)\]\(runs/\1\.json\)", line["record"])[1]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_page_of_a_committed_experiment_holds_every_record(experiment):
    text = make_row_page(Study.read(RESULTS, experiment))
    assert make_row_page(Study.read(RESULTS, experiment)) == text
    records = {record.id: record for record in read_records(RESULTS, experiment)}
    rows = rows_on(text)
    assert text.count('<a id="') == len(rows) == text.count("\n### ")
    assert {identity(line) for _, _, lines in rows.values() for line in lines} == set(records)
    for title, block, lines in rows.values():
        of_row = [records[identity(line)] for line in lines]
        made = command_of if all(is_of_today(record.raw) for record in of_row) else checkout_of
        assert block == made([record.raw for record in of_row])
        for line, record in zip(lines, of_row, strict=True):
            maps = {f"{length.bits} bits": f"{length.map:.4f}" for length in record.lengths}
            shown = {key: cell for key, cell in line.items() if key.endswith("bits") and cell}
            assert shown.items() <= maps.items()
            alone = not METHODS[record.method].progressive and not title.endswith("truncated")
            assert set(shown) == ({f"{max(record.config.bits)} bits"} if alone else set(maps))
            assert line["seed"] == str(record.seed)
            environment = record.environment
            parts = [*record.raw["environment"].get("earlier", ()), record.raw["environment"]]
            assert set(line["commit"].split(", ")) == {part["commit"][:10] for part in parts}
            processor = environment.cpu if environment.device == "cpu" else environment.device
            assert processor.split(",")[0].split(" Processor")[0] in line["device"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_links_lead_to_files_and_settings_to_the_csv(experiment):
    text = make_row_page(Study.read(RESULTS, experiment))
    csv = (RESULTS / experiment / "table.csv").read_text(encoding="utf-8")
    targets = set(re.findall(r"\]\(([^)]+)\)", text))
    assert len(targets) > 10
    assert all((RESULTS / experiment / target).is_file() for target in targets)
    settings = re.findall(r"Setting `(\w+)` of \[table.csv\]", text)
    assert len(settings) == text.count("\n## ")
    assert all(setting in csv for setting in settings)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_row_of_ours_in_the_table_has_its_anchor(experiment):
    text = make_row_page(Study.read(RESULTS, experiment))
    keys = re.findall(r"Setting `(\w+)`", text)
    sections = make_tables(Study.read(RESULTS, experiment))["table.md"].split("\n## ")
    sections = sections[1:] or sections
    anchors = {
        anchor_of(key[1:], line.split("|")[1].strip())
        for key, section in zip(keys, sections, strict=True)
        for line in section.splitlines()
        if "| ours, n" in line or "| mAP, n" in line
    }
    assert anchors == set(rows_on(text))


def test_commits_that_are_not_clean_and_devices(tmp_path):
    record = make_record()
    record["environment"] |= {"device": "a GPU", "commit": "c" * 40 + "-dirty"}
    put(tmp_path, record)
    ((_, _, (line,)),) = rows_on(make_row_page(Study.read(tmp_path, "cifar10"))).values()
    assert (line["device"], line["commit"]) == ("a GPU", "cccccccccc-dirty")
    assert (line["8 bits"], line["16 bits"]) == ("0.5000", "0.6000")


def test_a_row_that_no_option_makes_says_why_and_where_its_code_is(tmp_path):
    record = complete(changed(made_up("cifar10-cpu"), "training.learning_rate", 0.5))
    put(tmp_path, record)
    text = make_row_page(Study.read(tmp_path, "cifar10-cpu"))
    assert "Today's code has no command for this row: record dpq-paper-seed0-" in text
    assert "has training.learning_rate = 0.5, today's cifar10-cpu 0.001, and no option sets it" in text
    ((_, block, _),) = rows_on(text).values()
    assert block == f"git checkout {'c' * 40}"


def test_ablations_are_rows_of_the_setting_that_they_change(tmp_path):
    plain = [complete(made_up("cifar10-cpu", seed=seed)) for seed in (0, 1)]
    frozen = complete(made_up("cifar10-cpu", ablation="frozen"), (0.1, 0.2, 0.3, 0.4))
    frozen |= {"ablation_of": plain[0]["id"]}
    put(tmp_path, *plain, frozen)
    text = make_row_page(Study.read(tmp_path, "cifar10-cpu"))
    assert text.count("\n## ") == 1
    rows = rows_on(text)
    assert [title for title, _, _ in rows.values()] == ["DPQ", ABLATIONS["frozen"].title]
    anchor, (_, block, (line,)) = list(rows.items())[1]
    assert anchor.endswith("-frozen-backbone-heads-and-codebooks-learn")
    assert anchor[:6] == next(iter(rows))[:6]
    assert block == "python -m benchmarks run cifar10-cpu --ablation frozen --seeds 0"
    assert identity(line) == frozen["id"]
    assert [line[f"{bits} bits"] for bits in (8, 16, 24, 32)] == ["0.1000", "0.2000", "0.3000", "0.4000"]


def test_ablations_without_their_dpq_have_a_section_that_names_no_csv_of_others(tmp_path):
    stray = complete(changed(made_up("cifar10-cpu", ablation="frozen"), "training.epochs", 3))
    put(tmp_path, complete(made_up("cifar10-cpu")), stray | {"ablation_of": "dpq-paper-seed0-ffffffffff"})
    text = make_row_page(Study.read(tmp_path, "cifar10-cpu"))
    first, second = text.split("\n## ")[1:]
    assert stray["id"] not in first
    assert stray["id"] in second
    assert "3 epochs" in second.splitlines()[0]
    assert "table.csv" not in second


def test_class_splits_tell_their_classes_and_are_repetitions_of_one_row_also_of_ablations(tmp_path):
    unseen = {0: ["bird", "dog"], 1: ["cat", "deer"]}
    for split, classes in unseen.items():
        data = {"seen": ["frog"], "unseen": classes, "fingerprint_of_all": "a" * 64}
        plain = complete(made_up("cifar10-unseen", split=split), **data)
        ablation = complete(made_up("cifar10-unseen", split=split, ablation="frozen"), **data)
        put(tmp_path, plain, ablation | {"ablation_of": plain["id"]})
    rows = rows_on(make_row_page(Study.read(tmp_path, "cifar10-unseen")))
    dpq, frozen = rows.values()
    assert dpq[1] == "python -m benchmarks run cifar10-unseen --method dpq --seeds 0 --split-seeds 0,1"
    assert frozen[:2] == (ABLATIONS["frozen"].title, dpq[1].replace("--method dpq", "--ablation frozen"))
    for _, _, lines in (dpq, frozen):
        assert [line["held out"] for line in lines] == ["bird, dog", "cat, deer"]


def test_a_page_needs_records(tmp_path):
    with pytest.raises(InputError, match="no records under"):
        make_row_page(Study.read(tmp_path, "cifar10"))


def test_seeds_are_in_the_order_of_numbers(tmp_path):
    put(tmp_path, *(make_record(seed=seed) for seed in (2, 10, 1)))
    ((_, _, lines),) = rows_on(make_row_page(Study.read(tmp_path, "cifar10"))).values()
    assert [line["seed"] for line in lines] == ["1", "2", "10"]


def test_anchors():
    title = "PQ on DPQ's embedding, trained at 32 bits and truncated"
    assert anchor_of("9d48f75232", title) == "9d48f7-pq-on-dpqs-embedding-trained-at-32-bits-and-truncated"
    assert anchor_of("9d48f75232", "no soft terms (hard distortion alone)") == (
        "9d48f7-no-soft-terms-hard-distortion-alone"
    )
    assert anchors_of("9d48f75232", ["DPQ", "RQ", "DPQ"]) == ["9d48f7-dpq", "9d48f7-rq", "9d48f7-dpq-2"]


def test_anchors_of_all_titles_are_different():
    titles = {
        row_title(method, variant, training, bits)
        for method, entry in METHODS.own.items()
        for variant in entry.variants
        for training in TRAININGS
        for bits in (0, 16, 32)
    } | {ablation.title for ablation in ABLATIONS.values()}
    assert len({anchor_of("0123456789", title) for title in titles}) == len(titles)


@pytest.mark.parametrize(
    ("cell", "link"),
    [
        ("", ""),
        ("0.731", "[0.731](rows.md#a)"),
        ("0.731 ± 0.003", "[0.731 ± 0.003](rows.md#a)"),
        ("**0.731**", "**[0.731](rows.md#a)**"),
        ("**0.731 ± 0.003**", "**[0.731 ± 0.003](rows.md#a)**"),
        ("-0.070 ± 0.042", "[-0.070 ± 0.042](rows.md#a)"),
    ],
)
def test_cells_are_linked(cell, link):
    assert linked(cell, "rows.md#a") == link
