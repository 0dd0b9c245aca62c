import numpy as np
import pytest
import torch

from dpq import InputError
from dpq.protocols.stored_images import StoredImages
from dpq.training_inputs import keep_images

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), np.uint8)


def test_on_disk_as_in_memory(tmp_path):
    stored = keep_images(iter(PIXELS), 4, tmp_path, in_memory=0)
    tensor = keep_images(iter(PIXELS), 4, tmp_path)
    assert isinstance(stored, StoredImages)
    assert isinstance(tensor, torch.Tensor)
    assert (stored.shape, stored.dtype, len(stored)) == (tensor.shape, tensor.dtype, 6)
    rows = torch.tensor([5, 0, 5])
    for choice in (slice(None), slice(1, 3), rows):
        assert torch.equal(stored[choice], tensor[choice])
    assert torch.equal(tensor, torch.from_numpy(PIXELS))


def test_nothing_to_keep(tmp_path):
    with pytest.raises(InputError, match="there are no images"):
        keep_images([], 4, tmp_path)


def test_a_full_disk_is_told(tmp_path):
    try:
        full = open("/dev/full", "wb")  # noqa: SIM115
    except OSError:
        pytest.skip("the system has no /dev/full")
    full.close()
    (tmp_path / "images").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"No space left on device.*TMPDIR"):
        keep_images(iter(PIXELS), 4, tmp_path)
