"""What a user would otherwise write: the training loop of timm's own train.py."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import timm
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2

from benchmarks.bench.measure import Work
from benchmarks.setting.experiment import Experiment
from dpq.learning.augment import draw_crops, send, to_input
from dpq.learning.settings import Preprocessing, autocast
from dpq.protocols.base import Split

# Defaults of train.py of timm 1.0, for batches of `SIZE`; its rate grows with the batch.
RATE, SIZE, MOMENTUM, DECAY, SMOOTHING = 0.1, 256, 0.9, 2e-5, 0.1
ABOUT = (
    "The loop of timm is the step of its train.py with --channels-last, where the precision is bf16 --amp --amp-dtype "
    "bfloat16, and else its defaults: a classifier, SGD with Nesterov momentum, label smoothing, cuDNN's autotuning; "
    "no mixup, no average of weights, no compilation. Its images lie on the device and take the input that ours do, so "
    "its loader, which decodes and augments on the CPU, costs it nothing here."
)


def timm_step(experiment: Experiment, split: Split, device: torch.device) -> Work:
    """A training step of train.py on the next batch at each call: classify the images of a split."""
    training, classes = experiment.training, split.labels.shape[1]
    batch = training.batch_size
    model: Any = timm.create_model(experiment.backbone.name, num_classes=classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    rate = RATE * batch / SIZE
    optimizer = create_optimizer_v2(model, opt="sgd", lr=rate, weight_decay=DECAY, momentum=MOMENTUM)
    loss_of: Any = LabelSmoothingCrossEntropy(smoothing=SMOOTHING)  # type: ignore[no-untyped-call]
    preprocessing = Preprocessing()
    images, targets = split.images[:].to(device), split.labels.int().argmax(dim=1).to(device)
    crops = send(draw_crops(batch, training.augmentation, torch.Generator().manual_seed(0)), device)
    order = torch.arange(len(images) // batch * batch, device=device)
    batches = cycle(torch.split(order, batch))

    def step() -> None:
        rows = next(batches)
        inputs = to_input(images[rows], training.image_size, preprocessing, training.augmentation, crops)
        with autocast(device, training.precision):
            loss = loss_of(model(inputs), targets[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def work() -> None:
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            step()
        finally:
            torch.backends.cudnn.benchmark = before

    return work
