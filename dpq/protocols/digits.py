"""scikit-learn's bundled handwritten digits: nothing to download, a full run in minutes."""

from __future__ import annotations

import numpy as np
import torch

from dpq.protocols.base import Dataset, draw_splits, fingerprint

CLASSES = tuple(str(digit) for digit in range(10))
QUERY_PER_CLASS = 20
TRAIN_PER_CLASS = 50
_BRIGHTEST = 16  # the bundled images count ink in 4x4 blocks of bits


def load_digits_protocol(split_seed: int = 0) -> Dataset:
    """The 1,797 bundled digits: 200 queries, 500 training images, the other 1,097 the database.

    Args:
        split_seed: seed of the draw.

    Returns:
        The data set; images are [N, 3, 8, 8] with three equal channels, 0..16 stretched to 0..255.
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    grey = np.rint(bundle.images * (255 / _BRIGHTEST)).astype(np.uint8)  # [N, 8, 8]
    images = torch.from_numpy(grey).unsqueeze(1).repeat(1, 3, 1, 1)  # [N, 3, 8, 8]
    train, query, database = draw_splits(
        images,
        bundle.target.tolist(),
        [f"digits/{i:04d}" for i in range(len(images))],
        len(CLASSES),
        query=QUERY_PER_CLASS,
        train=TRAIN_PER_CLASS,
        seed=split_seed,
    )
    return Dataset("digits", "digits", CLASSES, train, query, database, fingerprint(train, query, database))
