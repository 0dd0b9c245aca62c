"""uint8 images on the device to network input, one batch at a time: crop, flip, resize, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dpq.backbone import Preprocessing

Views = Literal["centre", "mirror", "ten-crop"]
Place = tuple[int, int]

# Where the crops of an evaluation lie, right and down from the centre, in units of the margin that a crop leaves. All
# but "centre" also take the mirror image of each.
CROPS: dict[Views, tuple[Place, ...]] = {
    "centre": ((0, 0),),
    "mirror": ((0, 0),),
    "ten-crop": ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)),
}


@dataclass(frozen=True)
class Augmentation:
    """Training-time geometry; evaluation takes crops of the same size, at fixed places.

    Attributes:
        flip: mirror every second image, at random.
        crop: side of the crop as a fraction of the image's (the papers: 227/256); 1 keeps the whole image.
        shift: the crop's centre moves by up to this fraction of the image's side, in each axis; what lies outside
            the image is its reflection. `(1 - crop) / 2` keeps every crop inside.
    """

    flip: bool = True
    crop: float = 1.0
    shift: float = 0.125


def crop_grid(
    batch: int, size: int, augmentation: Augmentation, generator: torch.Generator | None, place: Place = (0, 0)
) -> Tensor:
    """Sampling grid [B, size, size, 2] of random crops and flips, or of crops at a place without a generator."""
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = augmentation.crop
    theta[:, :, 2] = (1 - augmentation.crop) * torch.tensor(place)  # the image spans [-1, 1]
    if generator is not None:
        # Both draws are made whatever is switched on, so that one switch leaves the other's draws alone.
        mirrored = torch.rand(batch, generator=generator) < 0.5
        offset = 2 * torch.rand(batch, 2, generator=generator) - 1
        if augmentation.flip:
            theta[mirrored, 0, 0] = -augmentation.crop
        theta[:, :, 2] = 2 * augmentation.shift * offset
    return F.affine_grid(theta, [batch, 3, size, size], align_corners=False)


def to_input(
    images: Tensor,
    size: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    generator: torch.Generator | None = None,
    place: Place = (0, 0),
    *,
    count: int | None = None,
    part: slice = slice(None),
) -> Tensor:
    """Network input from uint8 images.

    Args:
        images: [B, 3, h, w] uint8, on any device.
        size: side of the result.
        preprocessing: of the backbone's weights.
        augmentation: of the experiment.
        generator: on the CPU; draws crops and flips. None: deterministic crops.
        place: of the crop without a generator; the centre unless given.
        count: of the batch that the images are a part of, if they are; draws are then those of the whole batch.
        part: which part.

    Returns:
        [B, 3, size, size] float32, channels last.
    """
    unit = images.float() / 255
    grid = crop_grid(count or len(images), size, augmentation, generator, place)[part].to(images.device)
    sampled = F.grid_sample(unit, grid, preprocessing.interpolation, "reflection", align_corners=False).clamp(0, 1)
    mean, std = (
        torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std)
    )
    return ((sampled - mean) / std).contiguous(memory_format=torch.channels_last)
