"""Equal budgets and equal terms of one setting: sections, tables, pages."""

import csv
import io

import pytest

from benchmarks.figures import make_figures
from benchmarks.records.record import BUDGETS, TERMS
from benchmarks.records.store import as_record
from benchmarks.report.claims import find
from benchmarks.report.pages.anchors import anchored_rows
from benchmarks.report.pages.results import make_results_page
from benchmarks.report.pages.rows import make_row_page
from benchmarks.report.readings import chosen, reading_notes
from benchmarks.report.study import Study, sections_of
from benchmarks.report.tables import main_table, make_tables
from tests.benchmarks.made_up import each, run, tuned


def shared(dpq=0.6, dqn=0.5):
    """Two seeds of DPQ and DQN at equal terms."""
    return [one for s in (0, 1) for one in (run("dpq", s, (dpq, dpq)), *each("dqn", s, (dqn, dqn + 0.02)))]


def at_winners(dpq=0.65, dqn=0.6):
    """The same at equal budgets: DPQ with another margin, DQN with another rate."""
    records = shared(dpq, dqn)
    return [
        tuned(one, "dpq", {"margin": 8.0}) if one["method"] == "dpq" else tuned(one, "dqn", learning_rate=3e-4)
        for one in records
    ]


def study_of(*records, output=None):
    return Study(
        output or "results", "cifar10", sections_of(list(map(as_record, records)), *([output] if output else []))
    )


def both():
    return study_of(*shared(), *at_winners())


def test_tuned_runs_share_a_section_whatever_their_settings():
    study = both()
    budgets, terms = study.sections
    assert [one.reading for one in study.sections] == [BUDGETS, TERMS]
    assert (budgets.key, budgets.title) == (terms.key, terms.title)
    assert study.readings == [budgets, terms]
    assert {record.method for record in budgets.records} == {"dpq", "dqn"}
    assert all(record.tuned for record in budgets.records)
    assert not any(record.tuned for record in terms.records)
    assert budgets.heading == f"Equal budgets: {budgets.title}"
    assert terms.heading == f"Equal terms: {terms.title}"


def test_ablations_stand_with_equal_terms():
    plain = run("dpq", 0, (0.6, 0.6))
    ablation = run("dpq", 0, (0.5, 0.5), id="ablated", ablation="no-margin", ablation_of=plain["id"])
    budgets, terms = study_of(plain, ablation, tuned(plain, learning_rate=3e-4)).sections
    assert (len(budgets.ablated), len(terms.ablated)) == (0, 1)


def test_winners_of_two_studies_are_two_rows():
    one = tuned(run("dpq", 0, (0.6, 0.6)), learning_rate=3e-4)
    other = tuned(run("dpq", 1, (0.8, 0.8)), learning_rate=5e-4)
    (section,) = study_of(one, other).sections
    rows = main_table(section).to_dict("records")
    assert {row["8 bits"] for row in rows if row["method"] == "DPQ"} == {"0.600", "**0.800**"}
    found = {row["chosen (shared)"] for row in chosen(section, "")}
    assert found == {f"learning_rate {rate} (0.001)" for rate in (3e-4, 5e-4)}


def test_the_table_has_equal_budgets_first_and_says_what_they_are():
    tables = make_tables(both())
    text = tables["table.md"]
    above, below = text.split("## Equal terms: ")
    assert above.startswith("# cifar10\n\n## Equal budgets: cifar10-jpeg: ")
    assert "**Equal budgets: each method at the setting that a study of its own chose" in above
    assert "Training of all deep methods, but for what is tuned: " in above
    assert "Training of all deep methods: " in below
    assert "Tuning gained" not in below
    rows = list(csv.DictReader(io.StringIO(tables["table.csv"])))
    assert {row["reading"] for row in rows if "tuned" in row["records"]} == {BUDGETS}
    assert {row["reading"] for row in rows if "tuned" not in row["records"]} == {TERMS}
    assert len({row["setting"] for row in rows}) == 1
    assert tables["table.tex"].count("equal budgets: each method") == 1


def test_one_reading_is_named_only_where_it_is_tuned():
    terms, budgets = (make_tables(study_of(*records)) for records in (shared(), at_winners()))
    assert "equal" not in terms["table.md"].lower()
    assert "reading" not in terms["table.csv"].splitlines()[0].split(",")
    assert budgets["table.md"].count("qual budgets") == 1
    assert "equal terms" not in budgets["table.md"].lower()


def test_what_was_chosen_is_listed_with_its_study(tmp_path):
    (tmp_path / "studies/cifar10").mkdir(parents=True)
    (tmp_path / "studies/cifar10/dpq.json").touch()
    control = tuned(run("rq-dpq", 0, (0.6, 0.6)), "dpq", {"margin": 8.0})
    same = tuned(run("pq", 0, (0.3,), (8,)), "pq")
    records = [*shared(), *at_winners(), control, same]
    budgets, terms = study_of(*records, output=tmp_path).sections
    rows = {row["method"]: row for row in chosen(budgets, "../")}
    assert set(rows) == {"DPQ", "DQN", "PQ"}
    assert rows["DPQ"]["chosen (shared)"] == "margin 8.0 (5.0)"
    assert rows["DPQ"]["trials"] == "[dpq](../studies/cifar10/dpq.json)"
    assert rows["DQN"]["chosen (shared)"] == "learning_rate 0.0003 (0.001)"
    assert rows["DQN"]["trials"] == "`studies/cifar10/dqn.json`"  # which is not there
    assert rows["PQ"]["chosen (shared)"] == "as shared"
    assert chosen(terms, "") == []


def test_gains_are_means_over_common_lengths_of_the_rows_that_were_tuned():
    other = run("dqn", 0, (0.9,), (8,), id="another")  # of other settings: no start of the study
    other["config"]["methods"] = {"dqn": other["config"]["methods"]["dqn"] | {"balance": 0.5}}
    (budgets, _) = study_of(*shared(), *at_winners(), other).sections
    assert "means over lengths): DQN +0.100; DPQ +0.050." in reading_notes(budgets)


@pytest.mark.parametrize(
    ("dpq", "dqn", "said"),
    [
        (0.65, 0.6, "The order of methods is the same in both readings: DPQ, DQN."),
        (
            0.65,
            0.7,
            "The order of methods depends on the reading: DQN above DPQ at equal budgets (0.710 and 0.650), below at "
            "equal terms (0.510 and 0.600).",
        ),
    ],
)
def test_whether_the_order_depends_on_the_reading(dpq, dqn, said):
    budgets, terms = study_of(*shared(), *at_winners(dpq, dqn)).sections
    assert reading_notes(budgets).endswith(said)
    assert reading_notes(terms) == ""


def test_one_method_in_common_has_a_gain_and_no_order():
    budgets, _ = study_of(run("dpq", 0, (0.6, 0.6)), *at_winners()).sections
    assert reading_notes(budgets).endswith("DPQ +0.050.")


def test_rows_of_both_readings_have_places_of_their_own():
    study = both()
    anchors = [anchor for section in study.sections for anchor, _, _ in anchored_rows(section)]
    assert len(set(anchors)) == len(anchors) == 6
    assert sum("-tuned-" in anchor for anchor in anchors) == 3
    page = make_row_page(study)
    assert page.index("## Equal budgets: ") < page.index("## Equal terms: ")
    assert all(f'<a id="{anchor}"></a>' in page for anchor in anchors)


def test_the_page_of_results_has_both_readings_then_the_figures():
    page = make_results_page([both()], [], ["cifar10/data.png"], {"data": "A picture."})
    parts = ("### Equal budgets: ", "Tuning gained", "What each study chose", "### Equal terms: ", "*A picture.*")
    page = page.partition("## What was run")[2]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)


def test_claims_are_decided_at_equal_terms():
    found = [find([study]) for study in (both(), study_of(*shared()))]
    assert len(found[0]) == len(found[1]) > 0
    assert [one.comparison for one in found[0]] == [one.comparison for one in found[1]]


def test_figures_are_of_one_reading_and_say_which():
    plain = run("dpq", 0, (0.6, 0.6))
    ablation = run("dpq", 0, (0.5, 0.5), id="ablated", ablation="no-margin", ablation_of=plain["id"])
    drawn = {}

    def title(figure):
        return figure.get_suptitle().splitlines()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmarks.figures.files_of", lambda name, figure: drawn.update({name: title(figure)}) or {})
        make_figures(study_of(*shared(), *at_winners(), ablation))
        assert drawn["map"][-1] == BUDGETS
        assert "epochs" not in drawn["map"][1]
        assert drawn["ablations"][-1] == TERMS
        make_figures(study_of(plain))
        assert "epochs" in drawn["map"][-1]
