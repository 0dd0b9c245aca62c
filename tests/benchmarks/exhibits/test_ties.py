import numpy as np
import pytest

from benchmarks.exhibits.ties import measure_orders
from dpq.seeds import derive_seed
from tests.benchmarks.exhibits.conftest import BITS, coded, record_of, reference_scores, seeded


def slow_map(scores, relevant, cut):
    """Mean average precision of a stable argsort, divided by the hits inside the cut."""
    averages = []
    for row, hit in zip(scores, relevant, strict=True):
        ranked = hit[np.argsort(-row, kind="stable")][:cut]
        precisions = [ranked[: k + 1].mean() for k in np.flatnonzero(ranked)]
        averages.append(np.mean(precisions) if precisions else 0.0)
    return np.mean(averages)


def slow_orders(raw):
    first = [list(row).index(True) if row.any() else -1 for row in raw.database_labels]
    by_class = sorted(range(len(first)), key=lambda i: first[i])
    shuffled = seeded(derive_seed(0, "database order"), range(len(first)))
    return {"class-sorted": by_class, "shuffled": shuffled, "reversed": by_class[::-1]}


@pytest.mark.parametrize("score", ["inner", "l2"])
@pytest.mark.parametrize("cut", [None, 20, 1000])
def test_every_order_gives_what_sorting_a_score_matrix_gives(score, cut):
    record, raw = coded(score, cut)
    measured = measure_orders(record, raw)
    assert measured.shuffle_seed == 0
    assert [entry.bits for entry in measured.lengths] == list(BITS)
    relevant = (raw.query_labels[:, None] & raw.database_labels).any(axis=2)
    for entry, recorded in zip(measured.lengths, record.lengths, strict=True):
        scores = reference_scores(raw, entry.bits, score)
        expected = {name: slow_map(scores[:, o], relevant[:, o], cut) for name, o in slow_orders(raw).items()}
        assert entry.orders == pytest.approx(expected, abs=1e-12)
        assert len(set(entry.orders.values())) == 3
        worst, best = recorded.map_bounds
        assert all(worst - 1e-12 <= value <= best + 1e-12 for value in expected.values())


def test_queries_are_rounded_as_the_record_says():
    """Sixteen bits drop what keeps the scores of these queries apart."""
    record, raw = coded()
    noise = np.random.default_rng(0).uniform(-1e-4, 1e-4, raw.queries.shape).astype(np.float32)
    whole = measure_orders(record, raw)
    raw.queries[:] += noise
    assert measure_orders(record_of(raw, precision="float16"), raw) == whole
    assert measure_orders(record_of(raw, precision="float32"), raw) != whole
