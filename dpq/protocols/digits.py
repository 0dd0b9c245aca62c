"""scikit-learn's bundled handwritten digits: nothing to download, a full run in minutes.

Every method would rank ten digits almost perfectly, so training has images of six of them alone, and the search is
among all ten: what a code keeps of an image that is of none of the trained classes decides how well it does.
"""

from __future__ import annotations

import numpy as np
import torch

from dpq.protocols.base import Dataset, draw_splits, fingerprint, seeded_order

CLASSES = tuple(str(digit) for digit in range(10))
QUERY_PER_CLASS = 20
TRAIN_PER_CLASS = 50  # of the classes that training sees
SEEN = 6
_BRIGHTEST = 16  # the bundled images count ink in 4x4 blocks of bits


def seen_classes(split_seed: int, seen: int = SEEN) -> tuple[str, ...]:
    """The classes of the training images, in the order of `CLASSES`."""
    order = seeded_order(CLASSES, split_seed)
    return tuple(CLASSES[c] for c in sorted(order[:seen]))


def load_digits_protocol(split_seed: int = 0, seen: int = SEEN) -> Dataset:
    """The bundled digits: 300 training images of six classes; of all ten 200 queries, and a database of 1,097.

    Args:
        split_seed: seed of the draw of images, and of that of the classes.
        seen: how many classes training sees; ten are the images without the protocol's difficulty.

    Returns:
        The data set; images are [N, 3, 8, 8] with three equal channels, 0..16 stretched to 0..255. All splits have the
        ten label columns.
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    grey = np.rint(bundle.images * (255 / _BRIGHTEST)).astype(np.uint8)  # [N, 8, 8]
    images = torch.from_numpy(grey).unsqueeze(1).repeat(1, 3, 1, 1)  # [N, 3, 8, 8]
    drawn, query, database = draw_splits(
        images,
        bundle.target.tolist(),
        [f"digits/{i:04d}" for i in range(len(images))],
        len(CLASSES),
        query=QUERY_PER_CLASS,
        train=TRAIN_PER_CLASS,
        seed=split_seed,
        names=[str(i) for i in range(len(images))],  # positions in the bundle
    )
    columns = [CLASSES.index(name) for name in seen_classes(split_seed, seen)]
    train = drawn.having(columns)
    return Dataset("digits", "digits", CLASSES, train, query, database, fingerprint(train, query, database))
