from dataclasses import replace

import numpy as np
import pytest

from benchmarks.exhibits.draws import class_names, class_rounds, first_labels, shuffled
from tests.benchmarks.exhibits.conftest import CLASSES, coded, dataset_of


def labels_of(classes, columns):
    labels = np.zeros((len(classes), columns), dtype=bool)
    for row, c in zip(labels, classes, strict=True):
        if c >= 0:
            row[c] = True
    return labels


def test_an_image_counts_for_its_first_label():
    assert first_labels(np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0]], dtype=bool)).tolist() == [1, 0, -1]


def test_every_axis_has_an_order_of_its_own():
    one, other = shuffled(50, "one"), shuffled(50, "other")
    assert sorted(one) == sorted(other) == list(range(50))
    assert one.tolist() != other.tolist() != list(range(50))
    assert one.tolist() == shuffled(50, "one").tolist()


@pytest.mark.parametrize("most", [1, 6, 7, 12, 20, 1000])
def test_the_first_rows_are_balanced_as_far_as_the_classes_reach(most):
    classes = np.random.default_rng(0).permutation([-1] * 5 + [0] * 30 + [1] * 4 + [2] * 15 + [4] * 9)
    rows, rounds = class_rounds(labels_of(classes, 5), "x")
    assert len(set(rows.tolist())) == len(rows) == 58
    assert not (classes[rows] == -1).any()
    assert (np.diff(rounds) >= 0).all()
    counts = {c: (classes[rows[:most]] == c).sum() for c in (0, 1, 2, 4)}
    unfinished = [n for c, n in counts.items() if n < (classes == c).sum()]
    assert max(unfinished, default=0) - min(unfinished, default=0) <= 1
    assert all(n <= max(unfinished, default=n) for n in counts.values())


def test_within_a_class_rows_come_in_a_seeded_order():
    rows, rounds = class_rounds(labels_of([0] * 40, 1), "x")
    assert rows.tolist() == shuffled(40, "x").tolist() != list(range(40))
    assert rounds.tolist() == list(range(40))


def test_no_label_no_row():
    assert [len(part) for part in class_rounds(np.zeros((4, 2), dtype=bool), "x")] == [0, 0]


def test_the_names_are_those_of_the_label_columns_of_queries():
    dataset = dataset_of(coded()[1])
    assert class_names(dataset) == CLASSES
    assert class_names(replace(dataset, unseen=True, facts={"unseen": ["emu", "fox"]})) == ("emu", "fox")
