"""uint8 images on the device to network input, one batch at a time: crop, flip, resize, normalise."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from dpq.learning.settings import Augmentation, Preprocessing, Views

Place = tuple[int, int]
PATCH = (0.02, 1 / 3)  # smallest and largest area that is erased, as shares of the input
PROPORTION = 1 / 0.3  # of its sides, at most
OUTSIDE = 2.0  # of [-1, 1]^2

# Where the crops of an evaluation lie, right and down from the centre, in units of the margin that a crop leaves. All
# but "centre" also take the mirror image of each.
CROPS: dict[Views, tuple[Place, ...]] = {
    "centre": ((0, 0),),
    "mirror": ((0, 0),),
    "ten-crop": ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)),
}


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor in memory, on the device; a GPU's work goes on meanwhile, and the caller does not wait for it."""
    pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)


def draw_crops(batch: int, augmentation: Augmentation, generator: torch.Generator, erasing: float = 0.0) -> Tensor:
    """Random crops and flips, on the CPU: where each image is sampled, as affine maps [B, 2, 3] of [-1, 1]^2.

    With `erasing` they are [B, 2, 5]: the last two columns are the edges of a rectangle along x and y, in the input's
    own [-1, 1]^2, which lies outside where nothing is erased.
    """
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = augmentation.crop
    # Both draws are made whatever is switched on, so that one switch leaves the other's draws alone.
    mirrored = torch.rand(batch, generator=generator) < 0.5
    offset = 2 * torch.rand(batch, 2, generator=generator) - 1
    if augmentation.flip:
        theta[mirrored, 0, 0] = -augmentation.crop
    theta[:, :, 2] = 2 * augmentation.shift * offset
    return torch.cat([theta, _draw_patches(batch, erasing, generator)], dim=2) if erasing else theta


def _draw_patches(batch: int, erasing: float, generator: torch.Generator) -> Tensor:
    """Edges [B, 2, 2] of the rectangles that are erased of this share of the images.

    Areas and proportions are those of timm's `RandomErasing`, whose draws, image by image on the host, no GPU could
    replay. A side is the whole input's at most.
    """
    draws = torch.rand(batch, 5, generator=generator)
    area, tall = PATCH[0] + (PATCH[1] - PATCH[0]) * draws[:, 0], math.log(PROPORTION) * (2 * draws[:, 1] - 1)
    sides = torch.stack([area.sqrt() * (-tall / 2).exp(), area.sqrt() * (tall / 2).exp()], dim=1).clamp(max=1)
    low = (1 - sides) * draws[:, 2:4]
    edges = 2 * torch.stack([low, low + sides], dim=2) - 1
    return torch.where((draws[:, 4] < erasing)[:, None, None], edges, OUTSIDE)


def _erase(inputs: Tensor, edges: Tensor) -> Tensor:
    """Inputs [B, 3, H, W] with the mean colour, which is 0, in the pixels whose centres lie within edges [B, 2, 2]."""
    inside = []
    for axis, side in enumerate((inputs.shape[3], inputs.shape[2])):
        centres = (2 * torch.arange(side, device=inputs.device) + 1) / side - 1
        inside.append((centres >= edges[:, axis, :1]) & (centres < edges[:, axis, 1:]))
    return inputs.masked_fill_((inside[1][:, :, None] & inside[0][:, None, :])[:, None], 0.0)


def _fixed_crops(unit: Tensor, size: int, crop: float, interpolation: str, place: Place) -> Tensor:
    """The same crop of all images [B, 3, h, w]: two products, a fifth of the time of sampling each image by itself."""
    height, width = unit.shape[2:]
    right, down = ((1 - crop) * step for step in place)  # the image spans [-1, 1]
    rows = _axis_weights(height, size, crop, down, interpolation, unit.device)
    columns = _axis_weights(width, size, crop, right, interpolation, unit.device)
    return rows.T @ unit @ columns


@lru_cache
def _axis_weights(side: int, size: int, crop: float, centre: float, interpolation: str, device: torch.device) -> Tensor:
    """Weights [side, size] of the pixels along one axis in each sample of a crop: samples of the unit matrix."""
    along = torch.tensor([[[crop, 0.0, centre], [0.0, 1.0, 0.0]]])
    grid = F.affine_grid(along, [1, 1, side, size], align_corners=False)
    unit = torch.eye(side)[None, None]
    return F.grid_sample(unit, grid, interpolation, "reflection", align_corners=False)[0, 0].to(device)


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """[1, C, 1, 1] on the device, sent once: a step that sends nothing can be replayed."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def _normalises_before(device: torch.device) -> bool:
    """Whether pixels are normalised before they are sampled, which changes rounding alone: a sample's weights sum to 1.

    The large tensor is then written twice, not five times, which on a GPU is what input costs.
    """
    return device.type == "cuda"


def to_input(
    images: Tensor,
    size: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    crops: Tensor | None = None,
    place: Place = (0, 0),
) -> Tensor:
    """Network input from uint8 images.

    Args:
        images: [B, 3, h, w] uint8, on any device.
        size: side of the result.
        preprocessing: of the backbone's weights.
        augmentation: of the experiment.
        crops: of `draw_crops`, on the device. None: the same crop of every image.
        place: of that crop; the centre unless given.

    Returns:
        [B, 3, size, size] float32, channels last.
    """
    if crops is not None and crops.shape[2] > 3:
        return _erase(to_input(images, size, preprocessing, augmentation, crops[:, :, :3]), crops[:, :, 3:])
    unit = images.float().div_(255)
    before = _normalises_before(images.device)
    mean, std = (_per_channel(tuple(v), images.device) for v in (preprocessing.mean, preprocessing.std))
    if before:
        unit = unit.sub_(mean).div_(std)
    if crops is None:
        sampled = _fixed_crops(unit, size, augmentation.crop, preprocessing.interpolation, place)
    else:
        grid = F.affine_grid(crops, [len(images), 3, size, size], align_corners=False)
        sampled = F.grid_sample(unit, grid, preprocessing.interpolation, "reflection", align_corners=False)
    if before:
        pairs = list(zip(preprocessing.mean, preprocessing.std, strict=True))
        black, white = (_per_channel(tuple((v - m) / s for m, s in pairs), images.device) for v in (0, 1))
        return torch.clamp(sampled, black, white, out=torch.empty_like(sampled, memory_format=torch.channels_last))
    # In place: each further tensor of this size costs as much as the arithmetic.
    return sampled.clamp_(0, 1).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
