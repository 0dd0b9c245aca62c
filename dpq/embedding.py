"""Embeddings and class logits of whole sets of images, streamed through the backbone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dpq.backbone import Preprocessing
from dpq.images import CROPS, Views, send, to_input
from dpq.protocols.base import Images
from dpq.settings import TrainingConfig, autocast

BATCH = 128


@torch.no_grad()
def embed_images(
    network: nn.Module,
    preprocessing: Preprocessing,
    images: Images,
    config: TrainingConfig,
    *,
    views: Views = "centre",
    crop_seed: int | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """Embed uint8 images with a network in evaluation mode, on the device it is on.

    Args:
        network: gives embeddings and logits of a batch of inputs; its mode is restored afterwards.
        preprocessing: what the network expects of its input.
        images: [N, 3, h, w] uint8, on any device or on disk; one batch at a time is read.
        config: image size, crop and precision.
        views: the "centre" crop alone, or the mean over it and its "mirror" image, or over the mirrored and plain
            crops of the centre and the four corners ("ten-crop").
        crop_seed: draw random crops and flips, as the released code does; None takes the centre crop.
        progress: draw a progress bar on a terminal.

    Returns:
        Embeddings [N, D] and logits [N, L], float32 on the CPU.
    """
    device = next(network.parameters()).device
    generator = None if crop_seed is None else torch.Generator().manual_seed(crop_seed)
    was_training = network.training
    network.eval()
    embeddings, logits = [], []
    bar = tqdm(total=len(images), desc="encoding", unit="image", leave=False, disable=None if progress else True)
    with bar:
        for start in range(0, len(images), BATCH):
            batch = send(images[start : start + BATCH], device)
            seen = []
            for view in _views(batch, config, preprocessing, views, generator):
                with autocast(device, config.precision):  # the network alone: pixels are not rounded
                    seen.append(network(view))
            embeddings.append(torch.stack([embedding.float() for embedding, _ in seen]).mean(dim=0))
            logits.append(torch.stack([scores.float() for _, scores in seen]).mean(dim=0))
            bar.update(len(batch))
    network.train(was_training)
    return torch.cat(embeddings).cpu(), torch.cat(logits).cpu()  # read once: reading stalls a GPU


def _views(
    batch: Tensor,
    config: TrainingConfig,
    preprocessing: Preprocessing,
    views: Views,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    """The network inputs that a batch is seen as, one after the other."""
    for place in CROPS[views]:
        inputs = to_input(batch, config.image_size, preprocessing, config.augmentation, generator, place)
        yield inputs
        if views != "centre":
            yield inputs.flip(3)
