import pytest
import torch

from benchmarks.bench.synthetic import NUSWIDE, coded_set


def test_generated_sets_repeat_and_have_structure():
    first, again = coded_set(NUSWIDE, 20, 5000), coded_set(NUSWIDE, 20, 5000)
    assert torch.equal(first.codes, again.codes) and torch.equal(first.queries, again.queries)
    assert first.codes.shape == (5000, 4) and first.database_labels.any(dim=1).all()
    assert float(first.database_labels.sum(dim=1).float().mean()) == pytest.approx(NUSWIDE.mean_labels, abs=0.1)
