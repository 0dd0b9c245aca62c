import numpy as np
import pytest

from benchmarks.records.raw import RawResult
from benchmarks.running.evaluation import differ, evaluate_lengths


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.5, 0.5 + 1e-9),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 3.0]}),
        ([1.0], [1.0, 2.0]),
        (3, 4),
        (1.0, None),
        ("a", "b"),
    ],
)
def test_what_differs(one, other):
    assert differ(one, other)
    assert differ(other, one)
    assert not differ(one, one)


def test_another_order_of_summation_is_no_difference():
    assert not differ({"map": [0.7, {"x": 0.1 + 0.2}]}, {"map": [0.7, {"x": 0.3}]})


def test_a_cut_beyond_the_database_is_its_end():
    random = np.random.default_rng(0)
    labels = np.eye(3, dtype=bool)[random.integers(3, size=40)]
    raw = RawResult(
        random.integers(0, 4, (40, 2)).astype(np.uint8),
        random.normal(size=(2, 4, 5)).astype(np.float32),
        random.normal(size=(6, 5)).astype(np.float32),
        labels[:6],
        labels,
    )
    entries = [
        evaluate_lengths(raw, {4: 0.0}, cut, "inner", "float32", further_cuts=(10,))[0][0] for cut in (None, 5000, 7)
    ]
    assert [entry.r for entry in entries] == [40, 40, 7]
    assert entries[0].map == entries[1].map != entries[2].map
    assert set(entries[0].map_at) == {"10"}
