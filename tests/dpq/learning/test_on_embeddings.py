from dataclasses import replace

import pytest
import torch
from torch import nn

from dpq import InputError
from dpq.learning.augment import draw_crops, to_input
from dpq.learning.on_embeddings import embed_images
from dpq.learning.settings import Augmentation, Preprocessing, TrainingConfig

PLAIN = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")


class Corner(nn.Module):
    """Embeds an input as its top left pixel, which every crop and mirror image has another of."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return self.weight * inputs[:, :, 0, 0], inputs[:, 0, 0, :1]


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def embed(images, views, crop=0.5):
    config = TrainingConfig(epochs=1, image_size=4, augmentation=Augmentation(crop=crop))
    return embed_images(Corner(), PLAIN, images, config, views=views)[0]


def test_views_are_means_over_their_crops(images):
    pixels = images.float() / 255
    corners = [pixels[:, :, y : y + 4, x : x + 4] for x, y in ((2, 2), (0, 0), (4, 0), (0, 4), (4, 4))]
    seen = {
        "centre": corners[:1],
        "mirror": [corners[0], corners[0].flip(3)],
        "ten-crop": [*corners, *(corner.flip(3) for corner in corners)],
    }
    for views, crops in seen.items():
        expected = torch.stack([crop[:, :, 0, 0] for crop in crops]).mean(dim=0)
        assert torch.allclose(embed(images, views), expected, atol=1e-6), views


def test_a_crop_seed_draws_crops_that_repeat(images):
    config = TrainingConfig(epochs=1, image_size=4, augmentation=Augmentation(crop=0.5, shift=0.25))
    drawn = [embed_images(Corner(), PLAIN, images, config, crop_seed=seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    crops = draw_crops(len(images), config.augmentation, torch.Generator().manual_seed(1))
    expected = to_input(images, 4, PLAIN, config.augmentation, crops)[:, :, 0, 0]
    assert torch.equal(drawn[0], expected)


def test_what_stays_on_the_device_is_what_would_come_from_it(images):
    config = TrainingConfig(epochs=1, image_size=4)
    here, there = (embed_images(Corner(), PLAIN, images, config, stay=stay) for stay in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_ten_crops_of_the_whole_image_are_refused():
    with pytest.raises(InputError, match="the crop is 1 of the image"):
        TrainingConfig(epochs=1, evaluation_views="ten-crop")


def test_pixels_are_float32_whatever_the_precision_of_the_network(images):
    config = TrainingConfig(epochs=1, image_size=20)
    plain, half = (
        embed_images(Corner(), PLAIN, images, replace(config, precision=precision))[0] for precision in ("32", "bf16")
    )
    assert torch.equal(plain, half)
