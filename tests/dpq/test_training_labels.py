import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.training_inputs import read_labels


@pytest.mark.parametrize(
    ("labels", "classes", "names", "columns"),
    [
        (["b", "a", "b"], None, ("a", "b"), [1, 0, 1]),
        (["b", "a", "b"], ["b", "c", "a"], ("b", "c", "a"), [0, 2, 0]),
        (np.array(["b", "a"]), None, ("a", "b"), [1, 0]),
        ([10, 9, 10], None, ("9", "10"), [1, 0, 1]),
        (torch.tensor([2, 0], dtype=torch.uint8), ["x", "y", "z"], ("x", "y", "z"), [2, 0]),
        (np.eye(3, dtype=bool)[[2, 1]], None, ("0", "1", "2"), [2, 1]),
    ],
)
def test_labels_of_every_form(labels, classes, names, columns):
    read = read_labels(labels, classes)
    assert read.classes == names
    assert read.matrix.int().tolist() == np.eye(len(names), dtype=int)[columns].tolist()
    assert not read.several


def test_several_labels():
    assert read_labels(torch.tensor([[True, True], [True, False]])).several


@pytest.mark.parametrize(
    ("labels", "classes", "why"),
    [
        ([0.5, 1.0], None, "class names, integers or a boolean matrix"),
        ([[0, 1], [1, 0]], None, r"got int64 \[2, 2\]"),
        (["a", None], None, "class names, integers"),
        (["a", "a"], None, "at least two classes of different names apart; got 'a'"),
        ([], None, "class names, integers"),
        (["a", "b"], ["a", "c"], "label 'b' is none of the classes 'a', 'c'"),
        ([0, 2], ["a", "b"], "integer labels of 2 classes are 0 to 1; got 0 to 2"),
        ([-1, 1], ["a", "b"], "got -1 to 1"),
        ([0, 1], ["a", "a"], "of different names"),
        (["a", "\udcff"], None, "that UTF-8 can hold"),
        (np.eye(2, dtype=bool), ["a"], "has 2 columns, but there are 1 classes"),
        (np.array([[True, False], [False, False]]), None, "1 images have no label, the first is image 1"),
    ],
)
def test_labels_that_cannot_be_used(labels, classes, why):
    with pytest.raises(InputError, match=why):
        read_labels(labels, classes)
