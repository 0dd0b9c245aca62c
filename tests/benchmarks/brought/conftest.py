import numpy as np
import pytest
import torch

from dpq.protocols.base import Dataset, Split

CLASSES = ("a", "b", "c")


def split(count, seed, names=None):
    """Random images, some with two labels and some without any."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, 2, 2), dtype=np.uint8))
    return Split(images, torch.from_numpy(rng.random((count, len(CLASSES))) < 0.4), names)


@pytest.fixture
def dataset():
    """Seven queries and thirty database images; names of them all."""
    parts = [
        split(count, count, tuple(f"{name}/{i}" for i in range(count)))
        for name, count in (("t", 9), ("q", 7), ("d", 30))
    ]
    return Dataset("digits", "made-up", CLASSES, *parts, "f" * 64, cut=20, further_cuts=(5,))


@pytest.fixture
def put(tmp_path):
    """Write arrays as somebody else would."""

    def write(**arrays):
        np.savez(tmp_path / "codes.npz", **arrays)
        return tmp_path / "codes.npz"

    return write
