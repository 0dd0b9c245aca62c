"""Parts of a set of images: encoded apart and joined, they have the codes of the whole."""

import numpy as np
import pytest
import torch

from dpq import DPQ, InputError
from dpq.distributed import shard


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 5, 64, 65, 300])
def test_parts_are_the_whole_in_order_and_of_whole_batches(size, count):
    parts = [shard(range(size), index, count, batch_size=5) for index in range(count)]
    assert [item for part in parts for item in part] == list(range(size))
    assert all(part.start % 5 == 0 for part in parts if len(part))
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * 5


def test_codes_of_parts_are_those_of_the_whole():
    images = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)
    model = DPQ("test_resnet", weights=None, bits=16, codebook_size=16, embedding_dim=16, image_size=32, epochs=1)
    model.fit(images, ["cat", "dog"] * 18 + ["cat"])
    parts = [model.encode(shard(images, index, 3, batch_size=4), batch_size=4) for index in range(3)]
    assert torch.equal(torch.cat(parts), model.encode(images, batch_size=4))


@pytest.mark.parametrize(("index", "count", "batch_size"), [(-1, 2, 4), (2, 2, 4), (0, 0, 4), (0, 1, 0)])
def test_parts_that_are_none_are_refused(index, count, batch_size):
    with pytest.raises(InputError, match=r"no part|batch_size"):
        shard(range(10), index, count, batch_size=batch_size)
