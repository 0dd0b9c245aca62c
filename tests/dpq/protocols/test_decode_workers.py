from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpq.protocols import decode_workers
from dpq.protocols.decode_workers import decode_files
from tests.dpq.protocols.gallery import photos, write_files


@pytest.mark.parametrize("side", [16, 224, 256, 1024, 4096])
@pytest.mark.parametrize("workers", [0, 1, 8, 32, 1000])
def test_images_in_flight_are_bounded(side: int, workers: int) -> None:
    row_bytes = 3 * side**2
    count, batch = decode_workers._plan(workers, 200_000, row_bytes)
    assert (count > 0) == (workers > 0)
    assert count <= min(workers, 32)
    assert batch >= 1
    assert count * batch * row_bytes * 4 <= 256 << 20


def test_no_more_workers_than_files() -> None:
    assert decode_workers._plan(8, 3, 1)[0] == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_the_callers_random_numbers_are_left_alone(tmp_path: Path, workers: int) -> None:
    files = photos(4)
    before = torch.get_rng_state()
    assert len(list(decode_files(write_files(tmp_path, files), list(files), 8, workers))) == 4
    assert torch.equal(torch.get_rng_state(), before)
