"""Generated embeddings that quantize like those of a trained network.

Axes: N images, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLASSES, DIM = 10, 300
PARTS = ("train", "database", "queries")
SPREAD = 0.25  # length of the noise within a class, beside centres of length one
ABOUT = (
    f"Embeddings are generated: {CLASSES} class centres of length one in {DIM} dimensions, and noise of length "
    f"{SPREAD:g} around them whose j-th direction has a spread of 1/j. Four levels of 256 codewords then leave about "
    "as much of the squared norm, level by level, as on embeddings of DPQ trained on CIFAR-10: 1.5 %, 0.7 %, 0.5 % "
    "and 0.4 %."
)


def clustered(images: int, part: str) -> Tensor:
    """Embeddings [N, D] of one part of the data: "train", "database", "queries"; all parts share their classes."""
    shared = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(CLASSES, DIM, generator=shared), dim=1)
    directions = torch.linalg.qr(torch.randn(DIM, DIM, generator=shared))[0]
    spread = 1 / torch.arange(1.0, DIM + 1)
    own = torch.Generator().manual_seed(1 + PARTS.index(part))
    noise: Tensor = torch.randn(images, DIM, generator=own) * (SPREAD * spread / spread.norm()) @ directions
    return noise + centres[torch.randint(CLASSES, (images,), generator=own)]
