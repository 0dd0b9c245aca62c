from dataclasses import replace

import pytest
import torch
from torch import nn

from dpq import InputError
from dpq.learning.augment import draw_crops, to_input
from dpq.learning.deep import DeepMethod
from dpq.learning.entry import MethodContext
from dpq.learning.on_embeddings import EmbeddingQuantizer, embed_images
from dpq.learning.settings import Augmentation, KMeansConfig, Preprocessing, TrainingConfig, as_recorded
from dpq.protocols import Split
from dpq.seeds import derive_seed

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


class Pixels:
    """A source whose embeddings are pixels, less their mean, and under a crop seed that seed in front."""

    preprocessing = PLAIN

    def __init__(self):
        self.asked = []

    def predict(self, images, *, views=None, crop_seed=None, progress=False):
        self.asked.append((views, crop_seed))
        pixels = images.flatten(1).float()
        pixels = pixels - pixels.mean(dim=1, keepdim=True)
        if crop_seed is not None:
            pixels[:, 0] = crop_seed % 100
        return pixels, pixels[:, :0]


class Kept(EmbeddingQuantizer):
    """Its codebooks are embeddings, and it keeps what it saw."""

    name = "kept"
    progressive = True

    def learn(self, embeddings, seed):
        self.saw = embeddings
        return embeddings[: self.codebook_size].expand(self.levels, -1, -1)


def kept(images, epochs=10, seed=0, **settings):
    source = Pixels()
    method = Kept(source, 4, 4, **settings)
    method.fit(Split(images, torch.ones(len(images), 1, dtype=torch.bool)), TrainingConfig(epochs), seed)
    return method, source.asked


def test_codebooks_see_the_views_of_evaluation_once_unless_they_are_to_see_epochs(images):
    method, asked = kept(images)
    assert asked == [(None, None)]
    assert torch.equal(method.saw, Pixels().predict(images)[0])


@pytest.mark.parametrize("epochs", [1, 4, 5, 7, 10, 14])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.5, 0.9, 1.0])
def test_codebooks_see_as_many_passes_as_those_of_a_deep_method(images, epochs, share):
    deep = DeepMethod.__new__(DeepMethod)
    nn.Module.__init__(deep)
    deep.feature_epochs = round(1 - share, 6)
    _, asked = kept(images, epochs, code_epochs=share)
    assert len(asked) == epochs - deep.codes_start(epochs)
    assert {views for views, _ in asked} == {"centre"}


def test_passes_differ_and_follow_the_seed(images):
    method, asked = kept(images, code_epochs=0.3)
    assert asked == [("centre", derive_seed(0, "passes", index)) for index in range(3)]
    assert method.saw.shape == (15, 192)
    assert method.saw[::5, 0].tolist() == [crop_seed % 100 for _, crop_seed in asked]
    again, other = (kept(images, seed=seed, code_epochs=0.3)[0].saw for seed in (0, 1))
    assert torch.equal(again, method.saw) and not torch.equal(other, method.saw)


def test_embeddings_are_scaled_wherever_they_are_asked_for(images):
    images[1] = 7  # which leaves nothing after its mean
    for share in (0.0, 0.5):
        method, _ = kept(images, normalise=True, code_epochs=share)
        lengths = method.embed(images).norm(dim=1)
        torch.testing.assert_close(lengths, torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]))
        assert torch.equal(method.predict(images)[0], method.embed(images))
        assert method.saw.isfinite().all() and (method.saw.norm(dim=1) < 1 + 1e-6).all()
        assert method.encode(method.embed(images)).shape == (5, 2)


@pytest.mark.parametrize(
    ("frozen", "normalise", "scaled"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_what_another_method_embeds_is_never_scaled(frozen, normalise, scaled):
    config = KMeansConfig(normalise=normalise, code_epochs=0.25)
    context = MethodContext(config, 4, 4, 2, torch.eye(2), nn.Identity, Pixels(), frozen=frozen)
    method = Kept.of(context)
    assert (method.normalise, method.code_epochs, method.levels) == (scaled, 0.25, 2)


def test_records_without_these_settings_are_of_plain_embeddings_seen_once():
    assert as_recorded(KMeansConfig(normalise=False, code_epochs=0.0)) == {"score": "l2"}
    assert as_recorded(KMeansConfig()) == {"score": "l2", "normalise": True, "code_epochs": 0.5}
