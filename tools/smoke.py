"""What an installed wheel has to do: `python -I tools/smoke.py VERSION`, away from the checkout.

Imports nothing but the installed package and what it brings.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import dpq


def main(version: str) -> None:
    """Train, encode, save and load on generated images; raises where the installed package does not do it."""
    place = Path(dpq.__file__)
    assert place.is_relative_to(sys.prefix), f"{place} is not what was installed"
    assert dpq.__version__ == version, f"{dpq.__version__} is installed, not {version}"
    assert (place.parent / "py.typed").exists()
    for name in ("baselines", "benchmarks", "tests", "tools"):
        assert not (place.parent.parent / name).exists(), f"the wheel also holds {name}"

    images = np.random.default_rng(0).integers(0, 256, (32, 24, 24, 3), dtype=np.uint8)
    model = dpq.DPQ("test_resnet", weights=None, bits=8, codebook_size=16, embedding_dim=8, image_size=32, epochs=2)
    codes = model.fit(images, ["cat", "dog"] * 16).encode(images)
    assert codes.shape == (32, 2)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        loaded = dpq.DPQ.from_pretrained(Path(folder, "model"))
    assert (loaded.encode(images) == codes).all()
    assert loaded.classes == ("cat", "dog")
    print(f"dpq {version}: trained, encoded, saved and loaded")


if __name__ == "__main__":
    main(sys.argv[1])
