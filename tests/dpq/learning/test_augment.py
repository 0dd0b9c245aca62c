import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from dpq.learning import augment
from dpq.learning.augment import CROPS, draw_crops, to_input
from dpq.learning.settings import Augmentation, Preprocessing

PLAIN = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")


@pytest.fixture
def images():
    return torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_same_size_without_augmentation_is_the_image_itself(images):
    got = to_input(images, 8, PLAIN, Augmentation(shift=0.0))
    assert torch.allclose(got, images / 255, atol=1e-6)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_is_per_channel(images):
    preprocessing = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.25, 2.0), "bilinear")
    got = to_input(images, 8, preprocessing, Augmentation(shift=0.0))
    expected = (images / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.25, 2])[
        :, None, None
    ]
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "resample"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_enlarging_agrees_with_pillow_inside_the_image(name, resample):
    ramp = np.add.outer(np.arange(16) * 7, np.arange(16) * 5).astype(np.uint8)
    images = torch.from_numpy(ramp).expand(1, 3, 16, 16).contiguous()
    got = to_input(images, 64, Preprocessing((0,) * 3, (1,) * 3, name), Augmentation(shift=0.0))
    expected = np.asarray(Image.fromarray(ramp).resize((64, 64), resample)) / 255
    assert np.abs(got[0, 0].numpy() - expected)[8:-8, 8:-8].max() < 0.01


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_normalising_small_pixels_first_as_on_a_gpu_gives_the_same(images, monkeypatch, name, drawn):
    preprocessing = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.25, 2.0), name)
    augmentation = Augmentation(crop=0.8, shift=0.2)
    crops = draw_crops(len(images), augmentation, torch.Generator().manual_seed(0)) if drawn else None
    expected = to_input(images, 20, preprocessing, augmentation, crops)
    monkeypatch.setattr("dpq.learning.augment._normalises_before", lambda device: True)
    got = to_input(images, 20, preprocessing, augmentation, crops)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert got.is_contiguous(memory_format=torch.channels_last)
    black = (0 - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    assert name == "bilinear" or (got.amin(dim=(0, 2, 3)) == black).all()  # cubic samples overshoot, and are cut


@pytest.mark.parametrize("drawn", [0, 3, 5])
def test_on_a_gpu_input_waits_for_nothing(monkeypatch, drawn):
    for name in ("_per_channel", "_axis_weights"):  # what they keep is not to outlive this
        monkeypatch.setattr(augment, name, getattr(augment, name).__wrapped__)
    with FakeTensorMode():  # tensors with a device and a shape: reading a value is refused, as is mixing devices
        images = torch.empty(4, 3, 8, 8, dtype=torch.uint8, device="cuda")
        crops = torch.empty(4, 2, drawn, device="cuda") if drawn else None
        got = to_input(images, 20, PLAIN, Augmentation(crop=0.8), crops)
    assert got.device.type == "cuda" and got.is_contiguous(memory_format=torch.channels_last)


def test_a_centre_crop_keeps_the_centre(images):
    got = to_input(images, 4, PLAIN, Augmentation(crop=0.5))
    assert torch.allclose(got, images[:, :, 2:6, 2:6] / 255, atol=1e-6)


def grid_of(images, size, augmentation):
    crops = draw_crops(images, augmentation, torch.Generator().manual_seed(0))
    return F.affine_grid(crops, [images, 3, size, size], align_corners=False)


def test_random_crops_stay_inside_when_the_shift_allows():
    augmentation = Augmentation(crop=0.75, shift=0.125)
    grid = grid_of(500, 16, augmentation)
    assert grid.abs().max() < 1
    assert grid.abs().max() > 0.95  # and they do reach the border


def test_half_the_images_are_mirrored():
    augmentation = Augmentation(flip=True, shift=0.0)
    grid = grid_of(1000, 4, augmentation)
    mirrored = (grid[:, 0, 0, 0] > 0).float().mean()
    assert 0.4 < float(mirrored) < 0.6


@pytest.mark.parametrize("place", CROPS["ten-crop"])
def test_crops_lie_where_their_place_says(images, place):
    got = to_input(images, 4, PLAIN, Augmentation(crop=0.5), place=place)
    left, top = (2 + 2 * step for step in place)
    assert torch.allclose(got, images[:, :, top : top + 4, left : left + 4] / 255, atol=1e-6)


def test_ten_crops_are_the_centre_and_the_four_corners():
    assert len(set(CROPS["ten-crop"])) == 5
    assert CROPS["ten-crop"][0] == (0, 0)
    assert all(abs(x) == abs(y) == 1 for x, y in CROPS["ten-crop"][1:])


def sampled_one_by_one(images, size, preprocessing, crop, place):
    theta = torch.tensor([[crop, 0, (1 - crop) * place[0]], [0, crop, (1 - crop) * place[1]]]).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    pixels = F.grid_sample(images / 255, grid, preprocessing.interpolation, "reflection", align_corners=False)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (preprocessing.mean, preprocessing.std))
    return (pixels.clamp(0, 1) - mean) / std


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("crop", "place"), [(1.0, (0, 0)), (0.9, (0, 0)), (0.7, (1, -1)), (0.7, (-1, 1))])
@pytest.mark.parametrize("size", [5, 20])
def test_fixed_crops_are_those_of_a_sampling_grid(interpolation, crop, place, size):
    wide = torch.randint(0, 256, (3, 3, 8, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    preprocessing = Preprocessing(interpolation=interpolation)
    got = to_input(wide, size, preprocessing, Augmentation(crop=crop), place=place)
    assert torch.allclose(got, sampled_one_by_one(wide, size, preprocessing, crop, place), atol=2e-5)


def test_making_input_leaves_the_images_alone(images):
    before = images.clone()
    for crops in (None, draw_crops(len(images), Augmentation(), torch.Generator().manual_seed(0))):
        to_input(images, 8, PLAIN, Augmentation(), crops)
    assert torch.equal(images, before)


def test_erasing_leaves_the_geometry_alone_and_off_draws_nothing_more():
    plain = draw_crops(50, Augmentation(), torch.Generator().manual_seed(0))
    erased = draw_crops(50, Augmentation(), torch.Generator().manual_seed(0), 0.5)
    assert plain.shape == (50, 2, 3) and erased.shape == (50, 2, 5)
    assert torch.equal(erased[:, :, :3], plain)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_rectangles_are_those_of_timm(share):
    edges = draw_crops(4000, Augmentation(), torch.Generator().manual_seed(0), share)[:, :, 3:]
    there = edges[:, 0, 0] < 2
    assert abs(float(there.float().mean()) - share) < 0.03
    sides = (edges[there, :, 1] - edges[there, :, 0]) / 2
    assert edges[there].abs().max() <= 1 and sides.min() > 0
    random.seed(0)
    theirs = RandomErasing(1.0, device="cpu")(torch.ones(1000, 1, 40, 40))[:, 0] == 0
    assert abs(float(sides.prod(dim=1).mean() - theirs.float().mean())) < 0.01
    assert abs(float(sides[:, 1].mean() - theirs.any(dim=2).float().mean())) < 0.02


def test_what_is_erased_is_the_mean_colour_inside_the_rectangle_and_nothing_elsewhere(images):
    preprocessing = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.25, 2.0), "bilinear")
    crops = draw_crops(len(images), Augmentation(), torch.Generator().manual_seed(0), 1.0)
    crops[:, :, 3:] = torch.tensor([[-0.5, 0.25], [0.0, 1.0]])  # columns 2 to 4 of 8, rows 4 to 7
    crops[1, :, 3:] = augment.OUTSIDE
    got = to_input(images, 8, preprocessing, Augmentation(), crops)
    expected = to_input(images, 8, preprocessing, Augmentation(), crops[:, :, :3]).clone()
    for image in (0, 2, 3):
        expected[image, :, 4:, 2:5] = 0
    assert torch.equal(got, expected)
    assert got.is_contiguous(memory_format=torch.channels_last)
