"""Quantizers that are fitted to the embeddings of a given source: frozen features, or another method's."""

from __future__ import annotations

import copy
import math
import time
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dpq.codes import additive
from dpq.errors import Diverged, InputError, one_line
from dpq.files.checkpoint import (
    load_checkpoint,
    restore_module,
    restored_environments,
    restored_matrix,
    restored_seconds,
    save_checkpoint,
    unusable,
    with_environment,
)
from dpq.inputs.values import as_tensor
from dpq.learning.augment import CROPS, draw_crops, send, to_input
from dpq.learning.backbone import WeightFile, create_body, layout_of
from dpq.learning.entry import MethodContext, Source
from dpq.learning.settings import Execution, Preprocessing, TrainingConfig, TrainLog, Views, autocast
from dpq.protocols.base import Images, Split
from dpq.seeds import derive_seed

BATCH = 128
BATCH_ON_GPU = 512  # smaller ones leave the card waiting for launches; larger ones only take memory


@torch.no_grad()
def embed_images(
    network: nn.Module,
    preprocessing: Preprocessing,
    images: Images,
    config: TrainingConfig,
    *,
    views: Views | None = None,
    crop_seed: int | None = None,
    progress: bool = False,
    stay: bool = False,
) -> tuple[Tensor, Tensor]:
    """Embed uint8 images with a network in evaluation mode, on the device it is on.

    Args:
        network: gives embeddings and logits of a batch of inputs. It stays as it is, for other threads may ask it too:
            for one in training mode a copy answers.
        preprocessing: what the network expects of its input.
        images: [N, 3, h, w] uint8, on any device or on disk; one batch at a time is read.
        config: image size, crop and precision.
        views: the "centre" crop alone, or the mean over it and its "mirror" image, or over the mirrored and plain
            crops of the centre and the four corners ("ten-crop"); None takes those of the configuration.
        crop_seed: draw random crops and flips, as the released code does; None takes the centre crop.
        progress: draw a progress bar on a terminal.
        stay: leave the results on the device.

    Returns:
        Embeddings [N, D] and logits [N, L], float32, on the CPU unless they stay.

    Raises:
        Diverged: an embedding is not finite.
    """
    device, views = next(network.parameters()).device, views or config.evaluation_views
    generator = None if crop_seed is None else torch.Generator().manual_seed(crop_seed)
    if any(module.training for module in network.modules()):
        network = copy.deepcopy(network).eval()
    embeddings, logits = [], []
    bar = tqdm(total=len(images), desc="encoding", unit="image", leave=False, disable=None if progress else True)
    size = BATCH_ON_GPU if device.type == "cuda" else BATCH
    with bar:
        for start in range(0, len(images), size):
            batch = send(images[start : start + size], device)
            seen = []
            for place in CROPS[views]:
                drawn = None if generator is None else draw_crops(len(batch), config.augmentation, generator)
                crops = None if drawn is None else send(drawn, device)
                inputs = to_input(batch, config.image_size, preprocessing, config.augmentation, crops, place)
                with autocast(device, config.precision):  # the network alone: pixels are not rounded
                    seen.append(network(inputs))
                    if views != "centre":
                        seen.append(network(inputs.flip(3)))
            embeddings.append(torch.stack([embedding.float() for embedding, _ in seen]).mean(dim=0))
            logits.append(torch.stack([scores.float() for _, scores in seen]).mean(dim=0))
            bar.update(len(batch))
    whole, scores = torch.cat(embeddings), torch.cat(logits)
    if not whole.isfinite().all():  # read once: reading stalls a GPU
        raise Diverged(
            "the network's embeddings hold NaN or infinity; lower the learning rate, or start from other weights"
        )
    return (whole, scores) if stay else (whole.cpu(), scores.cpu())


class FrozenFeatures(nn.Module):
    """The pooled features of a backbone as its weights came, without any training.

    Args:
        name: timm model name.
        weights: as for `dpq.learning.backbone.Backbone`.
        training: image size, crop geometry, precision and views.
        device: where the network runs.
    """

    def __init__(
        self, name: str, weights: WeightFile | str | None, training: TrainingConfig, device: torch.device
    ) -> None:
        super().__init__()
        body, preprocessing = create_body(name, weights, training.image_size)
        self.body: nn.Module = body.to(device, memory_format=layout_of(body))
        self.preprocessing: Preprocessing = preprocessing
        self.training_config = training
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, F], and logits [B, 0]: there is no classifier."""
        features: Tensor = self.body(images)
        return features, features[:, :0]

    def predict(
        self,
        images: Images,
        *,
        views: Views | None = None,
        crop_seed: int | None = None,
        progress: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Features [N, F] and logits [N, 0] of uint8 images, on the CPU; arguments as for `embed_images`."""
        how: dict[str, Any] = {"views": views, "crop_seed": crop_seed, "progress": progress}
        return embed_images(self, self.preprocessing, images, self.training_config, **how)


class EmbeddingQuantizer:
    """Codebooks learned on the source's embeddings of the training images.

    Args:
        source: of the embeddings; not changed.
        bits: code length; one level per log2 K bits.
        codebook_size: codewords per level K.
        normalise: scale embeddings to unit length, of queries too; one of length 0 stays so.
        code_epochs: as of `KMeansConfig`.

    Attributes:
        config: settings of the method, of the context that it was built from.
        images: of training, whose embeddings `learn` gets, pass after pass; 0 before `fit`.
        network: what there is beside the codebooks; it has no parameters unless the method says so (`new_network`).

    Raises:
        InputError: the code length does not fit.
    """

    name: ClassVar[str]
    progressive: ClassVar[bool]
    config: Any = None
    images = 0

    def __init__(
        self,
        source: Source,
        bits: int,
        codebook_size: int = 256,
        *,
        normalise: bool = False,
        code_epochs: float = 0.0,
    ) -> None:
        self.source = source
        self.normalise, self.code_epochs = normalise, code_epochs
        self.levels = additive.levels_for(bits, codebook_size)
        self.codebook_size = codebook_size
        self._codebooks = torch.zeros(self.levels, codebook_size, 0)
        self.network = self.new_network(0)

    @classmethod
    def of(cls, context: MethodContext) -> Self:
        """An untrained one of `KMeansConfig`, for `MethodEntry.build`."""
        normalise, code_epochs = context.frozen and context.config.normalise, context.config.code_epochs
        made = cls(context.source(), context.bits, context.codebook_size, normalise=normalise, code_epochs=code_epochs)
        made.config = context.config
        return made

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D]; D = 0 before `fit`."""
        return self._codebooks

    @property
    def preprocessing(self) -> Preprocessing:
        """What the source's backbone expects of its input."""
        return self.source.preprocessing

    def learn(self, embeddings: Tensor, seed: int) -> Tensor:
        """Codebooks [M, K, D] from embeddings [N, D], which lie on the device of the run."""
        raise NotImplementedError

    def new_network(self, dim: int) -> nn.Module:
        """A `network` for embeddings of D dimensions, of the form that `learn` leaves one in, and checkpoints keep."""
        return nn.Module()

    def search(self, embeddings: Tensor) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], where the codebooks are; a method may replace these greedy ones."""
        return additive.encode(embeddings, self._codebooks)

    def fit(
        self, train: Split, training: TrainingConfig, seed: int = 0, execution: Execution | None = None
    ) -> TrainLog:
        """Learn the codebooks, or read them from the checkpoint where there is one.

        Raises:
            InputError: fewer images than codewords; the checkpoint is damaged or of another training.
        """
        additive.check_enough(len(train), self.codebook_size)
        self.images = len(train)
        execution = execution or Execution()
        checkpoint, environment = execution.checkpoint, execution.environment
        if checkpoint is not None and checkpoint.exists():
            tensors, state = load_checkpoint(checkpoint)
            try:
                restored = restored_matrix(tensors, "codebooks", (self.levels, self.codebook_size, None))
                self.network = self.new_network(restored.shape[2]).to(execution.device)
                rest = {name: value for name, value in tensors.items() if name != "codebooks"}
                restore_module(self.network, rest, whole=True)
                seconds, parts = restored_seconds(state), restored_environments(state)
            except ValueError as error:
                raise unusable(checkpoint, f"is of another training ({one_line(error)})") from error
            self._codebooks = restored.to(execution.device)
        else:
            embeddings = self._seen(train.images, training.epochs, seed).to(execution.device)
            started = time.perf_counter()
            self._codebooks = self.learn(embeddings, derive_seed(seed, "codebooks", 0)).to(execution.device)
            additive.check_fitted(self._codebooks, (self.levels, self.codebook_size, embeddings.shape[1]))
            seconds = time.perf_counter() - started
            parts = with_environment(getattr(self.source, "environments", ()), environment)
            if checkpoint is not None:
                state = {"seconds": seconds} | ({"environments": parts} if environment is not None else {})
                save_checkpoint(checkpoint, {"codebooks": self._codebooks, **self.network.state_dict()}, state)
        return TrainLog(seconds=seconds, images_per_second=len(train) / seconds, environments=parts)

    def _seen(self, images: Images, epochs: int, seed: int) -> Tensor:
        """The embeddings that codebooks are learned from: of all passes below each other, or as at evaluation."""
        passes = math.ceil(round(self.code_epochs * epochs, 6))  # 0.3 x 10 is 3, whatever floats make of it
        if not passes:
            return self.embed(images)
        seeds = [derive_seed(seed, "passes", index) for index in range(passes)]
        return torch.cat([self.predict(images, views="centre", crop_seed=one)[0] for one in seeds])

    def predict(
        self,
        images: Images,
        *,
        views: Views | None = None,
        crop_seed: int | None = None,
        progress: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The source's embeddings [N, D], scaled where that is set, and class logits [N, L]."""
        drawn = {} if crop_seed is None else {"crop_seed": crop_seed}
        embeddings, logits = self.source.predict(images, views=views, progress=progress, **drawn)
        return F.normalize(embeddings, dim=1) if self.normalise else embeddings, logits

    def embed(self, images: Images, *, views: Views | None = None, progress: bool = False) -> Tensor:
        """The source's embeddings [N, D]."""
        return self.predict(images, views=views, progress=progress)[0]

    def encode(self, embeddings: Tensor, bits: int | None = None) -> Tensor:
        """Codes [N, M] uint8 of embeddings [N, D], on the CPU; `bits` asks for a prefix.

        Raises:
            InputError: `bits` is no multiple of log2 K, or more than was trained; the codebooks have another D.
        """
        wanted = None if bits is None else additive.prefix_levels(bits, self.levels, self.codebook_size)
        embeddings = as_tensor(embeddings, "embeddings").to(self._codebooks.device)
        own = self._codebooks.shape[2]
        if embeddings.ndim == 2 and (width := embeddings.shape[1]) != own:
            raise InputError(
                f"expected embeddings [N, {own}], as the codebooks of {self.name}; got {width} dimensions; "
                "where a checkpoint holds those codebooks, delete it",
                "checkpoint",
            )
        return self.search(embeddings)[:, :wanted].cpu()
