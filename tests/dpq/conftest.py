import pytest
import torch

from dpq.backbone import Backbone
from dpq.config import DPQConfig
from dpq.images import Augmentation
from dpq.label_vectors import orthonormal_label_vectors
from dpq.model import DPQ
from dpq.protocols.base import Split
from dpq.settings import TrainingConfig

# The smallest network of timm with all the usual parts; an epoch of 64 images takes a fraction of a second.
BACKBONE = "test_resnet"


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


@pytest.fixture
def make_dpq():
    def make(seed=0, bits=8, **switches):
        torch.manual_seed(seed)
        config = DPQConfig(**({"tau": 0.1} | switches))
        return DPQ(
            Backbone(BACKBONE, 4, embedding_dim=16),
            orthonormal_label_vectors(4, 16),
            config,
            bits=bits,
            codebook_size=16,
        )

    return make
