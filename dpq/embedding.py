"""Embeddings and class logits of whole sets of images, streamed through the backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dpq.backbone import Preprocessing
from dpq.images import to_input
from dpq.settings import TrainingConfig, Views, autocast

BATCH = 128


@torch.no_grad()
def embed_images(
    network: nn.Module,
    preprocessing: Preprocessing,
    images: Tensor,
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
        images: [N, 3, h, w] uint8, on any device.
        config: image size, crop and precision.
        views: the "centre" crop alone, or the mean over it and its "mirror" image.
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
            batch = images[start : start + BATCH].to(device)
            inputs = to_input(batch, config.image_size, preprocessing, config.augmentation, generator)
            seen_as = [inputs, inputs.flip(3)] if views == "mirror" else [inputs]
            with autocast(device, config.precision):
                seen = [network(view) for view in seen_as]
            embeddings.append(torch.stack([embedding.float() for embedding, _ in seen]).mean(dim=0).cpu())
            logits.append(torch.stack([scores.float() for _, scores in seen]).mean(dim=0).cpu())
            bar.update(len(batch))
    network.train(was_training)
    return torch.cat(embeddings), torch.cat(logits)
