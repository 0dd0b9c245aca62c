import numpy as np
import pytest
import torch

from benchmarks.bench.parts import evaluation
from benchmarks.bench.parts.evaluation import evaluate_obviously
from benchmarks.bench.report import Options
from benchmarks.bench.synthetic import CIFAR10, NUSWIDE, coded_set
from dpq.metrics import average_precision


def test_the_report_compares_every_length_and_all_together():
    report = evaluation.measure(Options(torch.device("cpu"), 1, quick=True))
    assert [row["bits"] for row in report.tables["Seconds, median of the rounds"]] == ["8", "16", "24", "32", "all"]
    assert [promise.bound for promise in report.promises] == [6, 0.25, 1e-9]
    assert report.promises[2].kept


@pytest.mark.parametrize("labelling", [CIFAR10, NUSWIDE])
def test_the_obvious_evaluation_is_right(labelling):
    data = coded_set(labelling, 7, 400)
    mean, precision, recall = evaluate_obviously(data, 1, [1, 10, 400])
    scores = data.queries.double() @ data.codebooks[0][data.codes[:, 0].long()].double().T
    relevant = (data.query_labels.int() @ data.database_labels.int().T > 0).numpy()
    assert mean == pytest.approx(average_precision(scores, relevant, ties="index").mean(), abs=1e-9)
    assert precision[-1] == pytest.approx(relevant.mean()) and recall[-1] == pytest.approx(1)
    assert np.all(np.diff(recall) >= 0)
