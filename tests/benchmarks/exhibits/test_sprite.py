import numpy as np
import pytest
import torch

from benchmarks.exhibits.gallery import join_tiles, tiles_of


def noise(n, side):
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33])
def test_tile_k_is_image_k_and_the_rest_is_black(n):
    images = noise(n, 5)
    sprite = join_tiles(tiles_of(images))
    rows = -(-n // 16)
    assert sprite.shape == (rows * 5, 80, 3)
    for k in range(rows * 16):
        y, x = k // 16 * 5, k % 16 * 5
        for channel in range(3):
            expected = images[k, channel].numpy() if k < n else np.zeros((5, 5))
            assert np.array_equal(sprite[y : y + 5, x : x + 5, channel], expected)


def test_images_up_to_64_pixels_stay_as_they_are():
    images = noise(2, 64)
    assert np.array_equal(tiles_of(images), images.permute(0, 2, 3, 1).numpy())


def test_larger_images_become_thumbnails():
    """A picture in four colours keeps them in its corners."""
    image = torch.zeros(1, 3, 256, 256, dtype=torch.uint8)
    image[0, 0, :128], image[0, 1, :, 128:] = 200, 100
    (tile,) = tiles_of(image)
    assert tile.shape == (64, 64, 3)
    corners = [tile[y, x].tolist() for y in (2, -3) for x in (2, -3)]
    assert corners == [[200, 0, 0], [200, 100, 0], [0, 0, 0], [0, 100, 0]]
