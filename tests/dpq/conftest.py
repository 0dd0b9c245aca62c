import pytest
import torch

from dpq.learning.backbone import Backbone
from dpq.method.config import DPQConfig
from dpq.method.dpq import DPQMethod
from dpq.method.label_vectors import orthonormal_label_vectors

# The smallest network of timm with all the usual parts; an epoch of 64 images takes a fraction of a second.
BACKBONE = "test_resnet"


def build_dpq(seed=0, bits=8, dropout=0.0, **switches):
    torch.manual_seed(seed)
    config = DPQConfig(**({"tau": 0.1} | switches))
    return DPQMethod(
        Backbone(BACKBONE, 4, embedding_dim=16, dropout=dropout),
        orthonormal_label_vectors(4, 16),
        config,
        bits=bits,
        codebook_size=16,
    )


@pytest.fixture
def make_dpq():
    return build_dpq
