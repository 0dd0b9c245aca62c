"""One repetition is one value, in however many records its training stands."""

import io
import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures.series import series_of
from benchmarks.records.record import key_of
from benchmarks.report.comparisons import better, cheaper, components
from tests.benchmarks.made_up import each, run, section
from tests.benchmarks.shipped import sealed

BITS = (8, 16, 24)
MAPS = {seed: [0.5 + seed / 10 + place / 100 for place in range(3)] for seed in range(3)}


def everything(seed):
    """DPQ at all lengths, an ablation of it, and PQ at each."""
    plain = sealed(run("dpq", seed, MAPS[seed], BITS))
    lower = run("dpq", seed, [m - 0.1 for m in MAPS[seed]], BITS, ablation="no-margin", ablation_of=plain["id"])
    return [plain, *map(sealed, each("pq", seed, MAPS[seed], BITS))], [sealed(lower) | {"ablation_of": plain["id"]}]


def less(record, bits):
    """What a call for these lengths, which end with the longest, leaves beside the record."""
    lengths = [length for length in record["lengths"] if length["bits"] in bits]
    other = record | {"lengths": lengths, "config": record["config"] | {"bits": [one["bits"] for one in lengths]}}
    return sealed(other)


def seen(records, ablated):
    """What table, series of figures, and claims are made of; without the list of runs."""
    found = section(records, ablated)
    curves = {
        (one.title, bits): one.interval(bits)
        for one in series_of(found)
        for bits in one.records
        if not one.longest < 24
    }
    claims = [better(found, "pq"), cheaper(found, "pq"), components(found, "no-margin")]
    return found.summary.to_csv(), found.ablations.to_csv(), curves, claims, found.table.to_csv()


FURTHER = st.tuples(st.sampled_from(["dpq", "pq", "no-margin"]), st.integers(0, 2), st.sampled_from([(), (8,), (16,)]))


@given(st.lists(FURTHER))
def test_a_training_is_counted_once_whatever_else_was_called_for(further):
    made = [everything(seed) for seed in range(3)]
    own, ablated = [record for one, _ in made for record in one], [record for _, one in made for record in one]
    full = {(r.get("ablation") or r["method"], r["seed"]): r for r in (*own, *ablated) if len(r["lengths"]) == 3}
    more = {one["id"]: one for one in (less(full[which, seed], {*bits, 24}) for which, seed, bits in further)}
    more_ablated = [one for one in more.values() if "ablation" in one]
    more_own = [one for one in more.values() if "ablation" not in one]
    assert seen([*own, *more_own], [*ablated, *more_ablated]) == seen(own, ablated)


def test_the_record_of_most_lengths_stands_for_a_training():
    whole = sealed(run("dpq", 0, MAPS[0], BITS))
    part = less(whole, {16, 24})
    for records in ([whole, part], [part, whole]):
        assert set(section(records).table["id"]) == {whole["id"]}


def test_lengths_of_one_training_that_no_record_has_together_are_all_there():
    whole = run("dpq", 0, MAPS[0], BITS)
    table = section([less(whole, {8, 24}), less(whole, {16, 24})]).summary
    assert dict(zip(table["bits"], table["seeds"], strict=True)) == dict.fromkeys(BITS, 1)


def test_digests_come_back_from_a_table_as_they_were_written(tmp_path):
    """Ten digits with or without an e in them, as one in fifty is, are a number to pandas and to spreadsheets."""
    keys = [key_of(epochs) for epochs in range(400)]
    assert any(re.fullmatch(r"s\d+(e\d+)?", key) for key in keys)
    for key in keys:
        table = pd.read_csv(io.StringIO(f"setting,method_settings\n{key},{key}\n"))
        assert table.iloc[0].tolist() == [key, key]
