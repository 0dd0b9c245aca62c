import os

import pytest
import torch
from hypothesis import HealthCheck, settings

from dpq.learning.settings import Augmentation, TrainingConfig
from dpq.protocols.base import Split

# Few inputs, the same in every run; DPQ_FUZZ=10000 asks for as many, drawn anew.
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("DPQ_FUZZ", "100")),
    derandomize="DPQ_FUZZ" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz")


@pytest.fixture
def split():
    """96 images of 4 classes that differ in colour and noise."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(96) % 4
    colour = torch.randint(40, 216, (4, 3, 1, 1), generator=generator)
    noise = torch.randint(-40, 40, (96, 3, 8, 8), generator=generator)
    images = (colour[classes] + noise).clamp(0, 255).to(torch.uint8)
    return Split(images, torch.nn.functional.one_hot(classes, 4).bool())


@pytest.fixture
def training():
    return TrainingConfig(epochs=4, batch_size=32, image_size=32, augmentation=Augmentation(shift=0.1))
