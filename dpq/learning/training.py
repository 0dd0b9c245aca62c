"""One training loop for every deep method: order, augmentation, precision, checkpoints, progress."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from dpq.errors import Diverged, InputError, one_line
from dpq.files.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    restore_module,
    restore_optimizer,
    restored_environments,
    restored_log,
    save_checkpoint,
    unusable,
    with_environment,
)
from dpq.files.tensors import check_finite
from dpq.learning import distributed
from dpq.learning.augment import draw_crops, send, to_input
from dpq.learning.backbone import check_batches, layout_of
from dpq.learning.graphs import Replayed
from dpq.learning.health import batch_signs, loss_signs, one_class
from dpq.learning.settings import Epoch, Execution, TrainingConfig, TrainLog, Views
from dpq.protocols.base import Split, take_images
from dpq.seeds import derive_seed, seed_global

log = logging.getLogger(__name__)

# What the feature epochs change, whatever the code length.
SHARED = ("method.backbone.", "optimizer0.", "average.backbone.")


def make_schedule(optimizer: Optimizer, steps: int, config: TrainingConfig) -> Any:
    """Timm's scheduler; its `step_update(step)` is a function of the step alone, so resuming needs no state."""
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    if config.schedule == "exponential":
        rate = config.decay_rate ** (1 / config.decay_steps)
        return StepLRScheduler(optimizer, decay_t=1, decay_rate=rate, t_in_epochs=False)
    warm = round(config.warmup * steps)
    return CosineLRScheduler(
        optimizer, t_initial=max(1, steps - warm), warmup_t=warm, warmup_prefix=True, t_in_epochs=False
    )


class Average:
    """A moving average of what is learned by gradient: network and codebooks.

    Within an epoch alone of codebooks, which methods may move between epochs; they start there from what they are.

    Args:
        backbone: network with its heads.
        codebooks: parameter groups, as `codebook_parameters` gives them.
        decay: share of itself that the average keeps at a step.

    Attributes:
        module: the averages, whose state a checkpoint keeps.
    """

    def __init__(self, backbone: nn.Module, codebooks: list[dict[str, Any]], decay: float) -> None:
        from timm.utils import ModelEmaV3

        learned = nn.ParameterList(parameter for group in codebooks for parameter in group["params"])
        self._own = nn.ModuleDict({"backbone": backbone, "codebooks": learned})
        self._average: Any = ModelEmaV3(self._own, decay, use_warmup=True)
        self.module: nn.Module = self._average.module

    def restart_codebooks(self) -> None:
        """At the start of an epoch."""
        self.module.get_submodule("codebooks").load_state_dict(self._own["codebooks"].state_dict())

    def follow(self, step: int) -> None:
        """After the step of this number, from 0; in the first ones the average keeps less of itself."""
        self._average.update(self._own, step + 1)

    def take_over(self) -> None:
        """Have network and codebooks become their averages, in their places."""
        self._own.load_state_dict(self.module.state_dict())


class Trainer:
    """Trains one method on one split; `run` resumes from the checkpoint where there is one.

    Args:
        method: an `nn.Module` that is `Trainable`.
        split: training images; moved to the device once, as uint8, unless they are on disk.
        config: of the experiment.
        seed: master seed.
        execution: device, checkpoint file, progress.

    Raises:
        InputError: a batch is smaller than the number of processes, or has one image where there is batch norm.
    """

    def __init__(self, method: Any, split: Split, config: TrainingConfig, seed: int, execution: Execution) -> None:
        self.method: Any = method
        self.module: nn.Module = method
        self.config, self.seed, self.execution = config, seed, execution
        self.images = split.images.to(execution.device) if isinstance(split.images, Tensor) else split.images
        self.labels = split.labels.to(execution.device)
        self.batch_size = min(config.batch_size, len(split))
        if self.batch_size < distributed.processes():
            raise InputError(
                f"{distributed.processes()} processes cannot share batches of {self.batch_size} images; start fewer"
            )
        self.module.train()
        check_batches(self.module, self.batch_size)
        self.steps = len(split) // self.batch_size
        self.log = TrainLog()
        self.epoch = 0
        self.module.to(execution.device, memory_format=layout_of(self.module))
        distributed.synchronise_batch_norm(self.module, execution.device)
        network = method.network_parameters(config)
        # Fused: a step of many small operations waits for each to be launched.
        how: dict[str, Any] = {"fused": True, "capturable": execution.device.type == "cuda"}
        self.optimizers: list[Optimizer] = [
            torch.optim.AdamW(network, **how)
            if config.optimizer == "adamw"
            else torch.optim.SGD(network, lr=config.learning_rate, momentum=config.momentum)
        ]
        if codebooks := method.codebook_parameters():
            self.optimizers.append(torch.optim.Adam(codebooks, **how))
        self._average = Average(method.backbone, method.codebook_parameters(), config.ema) if config.ema else None
        self.schedules = [make_schedule(o, self.steps * config.epochs, config) for o in self.optimizers]
        # Several processes talk within a step, and SGD reads its rate on the host: neither can be replayed.
        self._replays = execution.capture and config.optimizer == "adamw" and distributed.processes() == 1
        self._update = Replayed(self._forward_backward_update, execution.device)
        self._at = 0  # the step
        self._rates: Tensor | None = None  # [G] of all parameter groups, where replayed steps read them

    def run(self) -> TrainLog:
        """Train what is left to train and return the log of all epochs."""
        self._resume()
        if not distributed.agree(self.epoch):
            raise InputError(
                "the processes see different checkpoints; keep them in a folder that all machines share", "output"
            )
        distributed.follow_leader(self.module)
        if self.epoch < self.config.epochs:
            self.log.environments = with_environment(self.log.environments, self.execution.environment)
        total = self.steps * self.config.epochs
        bar = tqdm(
            total=total,
            initial=self.epoch * self.steps,
            desc="training",
            unit="step",
            leave=False,
            disable=None if self.execution.progress and distributed.leads() else True,
        )
        # Dropout draws from torch's global generator: fork it, and give the caller's state back.
        devices = [self.execution.device] if self.execution.device.type == "cuda" else []
        with bar, torch.random.fork_rng(devices):
            while self.epoch < self.config.epochs:
                started = time.perf_counter()
                report = self._one_epoch(bar)
                self._refuse_broken_weights()
                self.log.seconds += time.perf_counter() - started
                self.log.epochs.append(report)
                self.epoch += 1
                self._save()
                numbers = ", ".join(f"{name} {value:.4g}" for name, value in report.items() if isinstance(value, float))
                log.info("epoch %d/%d: %s", self.epoch, self.config.epochs, numbers)
                for sign in report.get("warnings", ()):
                    log.warning("warning: epoch %d: %s", self.epoch, sign)
        trained = self.steps * self.batch_size * self.config.epochs
        self.log.images_per_second = trained / self.log.seconds if self.log.seconds else 0.0
        self.log.captured = self._update.used
        return self.log

    def _one_epoch(self, bar: tqdm[Any]) -> dict[str, Any]:
        shuffled = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(len(self.images), generator=shuffled).to(self.labels.device)
        seed, trained = derive_seed(self.seed, "codebooks", self.epoch), self.steps * self.batch_size
        epoch = Epoch(self.epoch, self.config.epochs, seed, self._embeddings, order, trained, self.labels)
        self.method.before_epoch(epoch)
        distributed.follow_leader(self.module)
        if self._average is not None:
            self._average.restart_codebooks()
        self.module.train()
        seed_global(derive_seed(self.seed, "dropout", self.epoch), self.execution.device)
        geometry = torch.Generator().manual_seed(derive_seed(self.seed, "augment", self.epoch))
        # Drawn on the CPU, and sent at once: sending is a wait at every step.
        how = self.config.augmentation, geometry, self.config.erasing
        drawn = [draw_crops(self.batch_size, *how) for _ in range(self.steps)]
        crops = send(torch.stack(drawn), self.labels.device)
        sums: dict[str, Tensor] = {}
        peak = alike = torch.zeros((), device=self.labels.device)  # read once per epoch: reading stalls a GPU
        for index in range(self.steps):
            rows = order[index * self.batch_size : (index + 1) * self.batch_size]
            terms = self.step(rows, crops[index], self.epoch * self.steps + index)
            for name, value in terms.items():
                sums[name] = sums[name] + value if name in sums else value
            peak = torch.maximum(peak, torch.stack(list(terms.values())).sum())
            alike = alike + one_class(self.labels[rows])
            bar.update()
        rate = float(self.optimizers[0].param_groups[-1]["lr"])
        means = {name: float(value) / self.steps for name, value in sums.items()}
        self._refuse_nonfinite(sum(means.values()), f"in epoch {self.epoch + 1}")
        before = self.log.epochs[-1] if self.log.epochs else None
        signs = loss_signs(means, float(peak), before) + batch_signs(int(alike), self.steps)
        if self._average is not None and self.epoch + 1 == self.config.epochs:
            self._average.take_over()  # before codebooks are fitted to the network as it is in the end
        own: dict[str, Any] = self.method.after_epoch(epoch)
        distributed.follow_leader(self.module)
        return means | {"learning_rate": rate} | own | ({"warnings": signs} if signs else {})

    def _embeddings(self, views: Views) -> Tensor:
        """Embeddings [N, D] of the training images, on the device; every process makes its share of them."""
        mine = distributed.share(len(self.images))
        self.method.backbone.eval()
        embeddings: Tensor = self.method.embed(take_images(self.images, mine), views=views, stay=True)
        self.method.backbone.train()
        return distributed.gather(embeddings, len(self.images))

    def step(self, rows: Tensor, crops: Tensor, step: int) -> dict[str, Tensor]:
        """One optimiser step on the training images at `rows` [B]; returns the loss terms, until the next step.

        Args:
            rows: [B] positions in the training split, on the device.
            crops: [B, 2, 3 or 5] of `draw_crops`, on the device.
            step: counted from the start of training.

        Raises:
            InputError: the loss is not finite; nothing is updated.
        """
        mine = distributed.share(len(rows))
        images = send(self.images[rows[mine]], self.labels.device)
        self._at = step
        self._set_rates(step)
        key = self.method.phase(self.epoch) if self._replays else None
        terms = self._update(key, images, rows, crops[mine])
        if self._average is not None:
            self._average.follow(step)
        return terms

    def _set_rates(self, step: int) -> None:
        for schedule in self.schedules:
            schedule.step_update(step)
        if self._replays and self.execution.device.type == "cuda":
            groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
            rates = send(torch.tensor([group["lr"] for group in groups]), self.labels.device)
            if self._rates is None:
                self._rates = torch.empty_like(rates)
            self._rates.copy_(rates)
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = rate

    def _forward_backward_update(self, images: Tensor, rows: Tensor, crops: Tensor) -> dict[str, Tensor]:
        size, augmentation = self.config.image_size, self.config.augmentation
        inputs = to_input(images, size, self.method.backbone.preprocessing, augmentation, crops)
        with distributed.whole_batch_statistics(self.execution.device):
            terms: dict[str, Tensor] = self.method.losses(inputs, self.labels[rows], rows, self.epoch)
        loss = torch.stack(list(terms.values())).sum()
        if self.execution.device.type == "cpu":  # reading it would stall a GPU, where the epoch's sum is read
            self._refuse_nonfinite(float(loss.detach()), f"at step {self._at + 1}")
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.join_gradients(self.module, self.method.backbone.body)
        for optimizer in self.optimizers:
            optimizer.step()
        return {name: value.detach() for name, value in terms.items()}

    def _refuse_nonfinite(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} {where}; {self._kept()}: lower the learning rate")

    def _refuse_broken_weights(self) -> None:
        """What the last step leaves has no loss after it that would show it."""
        try:
            check_finite(self.module.state_dict())
        except ValueError as error:
            raise Diverged(f"after epoch {self.epoch + 1} {error}; {self._kept()}: lower the learning rate") from error

    def _kept(self) -> str:
        return f"the checkpoint of epoch {self.epoch} is kept" if self.epoch else "no epoch was finished"

    def _save(self) -> None:
        if not distributed.leads():
            return
        own, shared = self.execution.checkpoint, self.execution.feature_checkpoint
        tensors = {f"method.{name}": value for name, value in self.module.state_dict().items()}
        for index, optimizer in enumerate(self.optimizers):
            tensors |= flatten_optimizer(f"optimizer{index}", optimizer)
        if self._average is not None:
            tensors |= {f"average.{name}": value for name, value in self._average.module.state_dict().items()}
        state: dict[str, Any] = {"epoch": self.epoch, "seconds": self.log.seconds, "log": self.log.epochs}
        if self.execution.environment is not None:
            state["environments"] = self.log.environments
        if own is not None:
            save_checkpoint(own, tensors, state)
        # Without an epoch that has codes there is nothing to go on with: every length fits its codebooks itself.
        if shared is not None and self.epoch == self.method.codes_start(self.config.epochs) < self.config.epochs:
            save_checkpoint(shared, {n: t for n, t in tensors.items() if n.startswith(SHARED)}, state)

    def _resume(self) -> None:
        candidates = (self.execution.checkpoint, self.execution.feature_checkpoint)
        path = next((path for path in candidates if path is not None and path.exists()), None)
        if path is None:
            return
        tensors, state = load_checkpoint(path)
        method = {name.removeprefix("method."): t for name, t in tensors.items() if name.startswith("method.")}
        try:
            self.epoch, self.log.seconds, self.log.epochs = restored_log(state, self.config.epochs)
            self.log.environments = restored_environments(state)
            restore_module(self.module, method, whole=path == self.execution.checkpoint)
            for index, optimizer in enumerate(self.optimizers):
                restore_optimizer(f"optimizer{index}", optimizer, tensors)
            if self._average is not None:
                kept = {n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")}
                restore_module(self._average.module, kept, whole=path == self.execution.checkpoint)
        except ValueError as error:
            raise unusable(path, f"is of another training ({one_line(error)})") from error
        log.info("resuming after epoch %d of %d from %s", self.epoch, self.config.epochs, path)
