"""One repetition is one value, in however many records its training stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures.series import series_of
from benchmarks.records.record import key_of
from benchmarks.report.comparisons import above, as_if_alone, cheaper, components
from benchmarks.report.study import Section
from benchmarks.report.tables import make_tables
from tests.benchmarks.made_up import each, run, section
from tests.benchmarks.shipped import sealed

BITS = (8, 16, 24)
MAPS = {seed: [0.5 + seed / 10 + place / 100 for place in range(3)] for seed in range(3)}


def everything(seed):
    """DPQ at all lengths, an ablation of it, and PQ at each."""
    plain = sealed(run("dpq", seed, MAPS[seed], BITS))
    lower = run("dpq", seed, [m - 0.1 for m in MAPS[seed]], BITS, ablation="no-margin", ablation_of=plain["id"])
    return [plain, *map(sealed, each("pq", seed, MAPS[seed], BITS))], [lower]


def less(record, bits):
    """What a call for these lengths, which end with the longest, leaves beside the record."""
    lengths = [length for length in record["lengths"] if length["bits"] in bits]
    other = record | {"lengths": lengths, "config": record["config"] | {"bits": [one["bits"] for one in lengths]}}
    return sealed(other)


def seen(records, ablated):
    """What table, series of figures, and claims are made of; without the list of runs."""
    found = section(records, ablated)
    curves = {
        (one.title, bits): one.interval(bits) for one in series_of(found) for bits in one.records if not one.longest < 24
    }
    claims = [above(found, "pq"), cheaper(found, "pq"), components(found, ["no-margin"])]
    return found.summary.to_csv(), found.ablations.to_csv(), curves, claims, found.table.to_csv()


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["dpq", "pq", "no-margin"]), st.sets(st.sampled_from(BITS[:2])))))
def test_a_training_is_counted_once_whatever_else_was_called_for(further):
    own, ablated = map(list, zip(*(everything(seed) for seed in range(3)), strict=True))
    own, ablated = sum(own, []), sum(ablated, [])
    alone = seen(own, ablated)
    more, more_ablated = {}, {}
    for seed, which, bits in further:
        if bits == set(BITS[:2]):
            continue  # all lengths are no other record
        at = [8, 16, 24] if which != "pq" else BITS
        place = more_ablated if which == "no-margin" else more
        source = next(
            record
            for record in (ablated if which == "no-margin" else own)
            if record["seed"] == seed and record["method"] == ("pq" if which == "pq" else "dpq") and len(record["lengths"]) == 3
        )
        other = less(source, {*bits, at[-1]})
        place[other["id"]] = other
    assert seen([*own, *more.values()], [*ablated, *more_ablated.values()]) == alone


def test_the_record_of_most_lengths_stands_for_a_training():
    whole = sealed(run("dpq", 0, MAPS[0], BITS))
    part = less(whole, {16, 24})
    for records in ([whole, part], [part, whole]):
        assert set(section(records).table["id"]) == {whole["id"]}


def test_lengths_of_one_training_that_no_record_has_together_are_all_there():
    whole = run("dpq", 0, MAPS[0], BITS)
    table = section([less(whole, {8, 24}), less(whole, {16, 24})]).summary
    assert dict(zip(table["bits"], table["seeds"], strict=True)) == dict.fromkeys(BITS, 1)


@pytest.mark.parametrize("epochs", range(1, 60))
def test_digests_in_tables_are_no_numbers(epochs):
    assert not key_of({"epochs": epochs}).isdigit()
