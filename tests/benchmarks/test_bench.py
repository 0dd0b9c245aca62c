import pytest
import torch

from benchmarks import bench
from benchmarks.synthetic import MEAN_LABELS, coded_set


def test_ranking_prints_a_row_for_every_length_and_the_sum(capsys):
    threads = torch.get_num_threads()
    try:
        assert bench.main(["ranking", "--queries", "6", "--database", "300", "--threads", "1"]) == 0
    finally:
        torch.set_num_threads(threads)
    title, _, *table = capsys.readouterr().out.splitlines()
    assert "6 queries, 300 images" in title and "1 thread" in title
    assert [row.split("|")[1].strip() for row in table[2:]] == ["8", "16", "24", "32", "all"]


def test_a_mistake_is_one_line(capsys):
    assert bench.main(["ranking", "--queries", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_names_every_benchmark(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    assert "ranking" in capsys.readouterr().out


def test_generated_sets_repeat_and_have_structure():
    first, again = coded_set(20, 5000), coded_set(20, 5000)
    assert torch.equal(first.codes, again.codes) and torch.equal(first.queries, again.queries)
    assert first.codes.shape == (5000, 4) and first.database_labels.any(dim=1).all()
    assert float(first.database_labels.sum(dim=1).float().mean()) == pytest.approx(MEAN_LABELS, abs=0.1)
