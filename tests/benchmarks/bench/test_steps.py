"""A training step on a GPU waits for nothing, and no step loops over its images.

Without a GPU, the meta device stands for one: whatever depends on the values of its tensors raises an error there.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.bench.parts.training import METHODS, whole_step
from benchmarks.bench.report import Options
from benchmarks.bench.setting import generated_split, prepared_trainer, setting
from dpq.learning.augment import to_input

META, CPU = torch.device("meta"), torch.device("cpu")
EXPERIMENT = setting(Options(CPU, 1, quick=True))


class Watch(TorchDispatchMode):
    """Counts operations, and refuses copies to the device that the caller waits for."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        self.calls[function] += 1
        if function is torch.ops.aten._to_copy.default and arguments[0].device != keywords.get(
            "device", arguments[0].device
        ):
            assert keywords.get("non_blocking"), "a copy between memory and device that is waited for"
        return function(*arguments, **keywords)


def step_on(device, name, batch_size=16):
    training = replace(EXPERIMENT.training, batch_size=batch_size)
    trainer = prepared_trainer(name, replace(EXPERIMENT, training=training), generated_split(64), device)
    trainer.module.train()
    dim = trainer.method.codebooks.shape[2]
    if name == "dpq":
        trainer.method._seen = torch.zeros(64, dim, device=device)
        trainer.method._codes = torch.zeros(64, trainer.method.quantizer.levels, dtype=torch.uint8, device=device)
    else:
        for kept in ("_reconstructions", "_seen"):
            setattr(trainer.method, kept, torch.zeros(64, dim, device=device))
    crops = torch.eye(2, 3, device=device).repeat(batch_size, 1, 1)
    to_input(trainer.images[:1], 8, trainer.method.preprocessing, training.augmentation)  # what is sent once
    with Watch() as watch:
        trainer.step(torch.arange(batch_size, device=device), crops, 0)
    return watch.calls


@pytest.fixture
def unfused(monkeypatch):
    """The optimizers that the meta device has, which knows no fused ones."""
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        monkeypatch.setattr(torch.optim, kind.__name__, lambda groups, kind=kind, **_: kind(groups))


@pytest.mark.usefixtures("unfused")
@pytest.mark.parametrize("name", METHODS)
def test_a_step_reads_nothing_back(name):
    assert sum(step_on(META, name).values()) > 100


@pytest.mark.parametrize("name", METHODS)
def test_a_larger_batch_takes_no_more_operations(name):
    assert step_on(CPU, name, 8) == step_on(CPU, name, 32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", METHODS)
def test_a_step_does_not_synchronise_with_a_gpu(name):
    step = whole_step(prepared_trainer(name, EXPERIMENT, generated_split(64), torch.device("cuda")))
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
