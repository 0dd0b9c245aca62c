import pytest
import torch

from dpq.ranking.scores import asymmetric_scores, lookup_tables


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("queries", "images"), [(3, 500), (1, 1), (2, 0), (0, 5)])
def test_scores_are_table_entries_summed_level_by_level_to_the_last_bit(queries, images, dtype):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(queries, 20, generator=random).to(dtype)
    codebooks = torch.randn(5, 16, 20, generator=random).to(dtype)
    codes = torch.randint(16, (images, 5), generator=random, dtype=torch.uint8)
    tables, total = lookup_tables(x, codebooks), torch.zeros(queries, images, dtype=dtype)
    for level in range(5):
        total = total + tables[:, level, codes[:, level].long()]
    scores = asymmetric_scores(x, codes, codebooks)
    assert torch.equal(scores, total) and scores.is_contiguous()
