"""Images in, codes out: `dpq.DPQ`, which trains, encodes, saves and loads.

The method itself, on decoded images and with every hook that the benchmarks use, is `dpq.method.dpq.DPQMethod`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from tqdm import tqdm

from dpq.codes import additive
from dpq.errors import InputError
from dpq.files.bounds import in_range
from dpq.files.checkpoint import restore_module
from dpq.files.schema import Bits
from dpq.inputs.images import ImageInput, LeftOut, batches, square_images
from dpq.inputs.training import LabelInput, training_split
from dpq.inputs.values import Numbers, as_tensor, whole_number
from dpq.learning.backbone import Backbone, WeightFile, check_backbone, create_body, read_weights
from dpq.learning.health import code_signs
from dpq.learning.settings import Augmentation, Execution, Pixels, TrainingConfig, TrainLog
from dpq.method import dpq
from dpq.method.config import DPQConfig
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.method.saved import SCHEMA_VERSION, SavedBackbone, SavedConfig, read_model, unusable, write_model
from dpq.seeds import derive_seed, seeded
from dpq.version import __version__

log = logging.getLogger(__name__)

# The optimisation of the benchmarks' photographs, with crops of 7/8 of the image.
TRAINING = TrainingConfig(
    epochs=14,
    head_multiplier=3.0,
    layer_decay=0.886,
    augmentation=Augmentation(crop=0.875, shift=0.0625),
)
OBJECTIVE = DPQConfig(margin=5.0, classification=1.0, tau=0.01)


class DPQ:
    """Codes of images, trained once and read at every length.

    An example with random images and the smallest network, which learns nothing but runs in a second:

    >>> import numpy as np
    >>> from dpq import DPQ
    >>> images = np.random.default_rng(0).integers(0, 256, (32, 24, 24, 3), dtype=np.uint8)
    >>> model = DPQ("test_resnet", weights=None, bits=8, codebook_size=16, embedding_dim=8, image_size=32, epochs=2)
    >>> model = model.fit(images, ["cat", "dog"] * 16)
    >>> model.classes
    ('cat', 'dog')
    >>> codes = model.encode(images)  # one byte per level
    >>> codes.shape, codes.dtype
    (torch.Size([32, 2]), torch.uint8)
    >>> bool((model.encode(images, bits=4) == codes[:, :1]).all())  # a shorter code is a prefix
    True

    Args:
        backbone: timm model name.
        weights: what the network starts from: "timm" downloads timm's own weights, a path is of a safetensors file or a
            torch state dict, None or "none" starts from scratch.
        bits: longest code; shorter ones are its prefixes.
        codebook_size: codewords per level K, a power of two of at most 256. A level takes log2 K bits, and one byte of
            `encode`'s result. Training needs at least K images.
        embedding_dim: D; not below the number of classes.
        image_size: side of the network's input in pixels; instead of `training`'s.
        epochs: passes over the training images; instead of `training`'s.
        batch_size: images of a training step; instead of `training`'s.
        training: optimisation, augmentation and evaluation views.
        config: objective and switches of the method.
        device: "auto" takes a CUDA device where there is one; otherwise whatever `torch.device` takes.

    Attributes:
        log: of the training; None where the model was loaded or is not trained.

    Raises:
        InputError: a size is out of range, or the device is not there.
    """

    def __init__(
        self,
        backbone: str = "mobilenetv2_100",
        *,
        weights: str | os.PathLike[str] | WeightFile | None = "timm",
        bits: int = 32,
        codebook_size: int = 256,
        embedding_dim: int = 300,
        image_size: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        training: TrainingConfig = TRAINING,
        config: DPQConfig = OBJECTIVE,
        device: str | torch.device = "auto",
    ) -> None:
        levels = additive.levels_for(bits, codebook_size)
        size = additive.check_codebook_size(codebook_size)
        self.training = replace(
            training,
            image_size=whole_number("image_size", training.image_size if image_size is None else image_size, None),
            epochs=whole_number("epochs", training.epochs if epochs is None else epochs, None),
            batch_size=whole_number("batch_size", training.batch_size if batch_size is None else batch_size, None),
        )
        self.backbone, self.weights = backbone, weights
        self.embedding_dim: int = in_range("embedding_dim", Pixels, whole_number("embedding_dim", embedding_dim))
        self.bits: int = in_range("bits", Bits, levels * (size.bit_length() - 1))
        self.codebook_size = size
        self.config = config
        self.device = _device(device)
        self.log: TrainLog | None = None
        self._labels: tuple[tuple[str, ...], bool] | None = None  # classes, and whether an image may have several
        self._method: dpq.DPQMethod | None = None

    @property
    def method(self) -> dpq.DPQMethod:
        """The trained method: network and quantizer.

        Raises:
            InputError: nothing was trained yet.
        """
        if self._method is None:
            raise InputError("the model is not trained; call fit, or load one with DPQ.from_pretrained")
        return self._method

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the L classes that training told apart; empty before."""
        return self._labels[0] if self._labels else ()

    @property
    def codebooks(self) -> Tensor:
        """[M, K, D], a copy on the CPU."""
        return self.method.codebooks.to("cpu", copy=True)

    @property
    def side(self) -> int:
        """Height and width that every image is resized to; the network sees crops of it."""
        return round(self.training.image_size / self.training.augmentation.crop)

    def fit(
        self,
        images: ImageInput,
        labels: LabelInput | None = None,
        *,
        classes: Sequence[str] | None = None,
        seed: int = 0,
        workers: int = 0,
        allow_missing: int = 0,
        progress: bool = False,
    ) -> Self:
        """Train features and codebooks.

        Images are decoded once. Up to 1 GiB they stay in memory, more of them in a temporary file. In the end they are
        coded, and the signs of a training that went wrong (`dpq.learning.health`) are logged as warnings.

        Args:
            images: as for `encode`; or, without labels, a folder that the protocol `folder` reads
                (`dpq.protocols.folder`), or a dataset of pairs of image and label. Where a folder says its splits, by
                folders or by a manifest, its images of `train` are used alone.
            labels: N class names, N integers, or a boolean matrix [N, L] for images with several labels. None takes
                those of the folder, or the second of each pair of the dataset.
            classes: names of the classes, in the order of integers or columns; without it a dataset's own `classes`, or
                all labels that occur, sorted.
            seed: of weights, batch order, augmentation and codebooks. A CPU gives the same model again.
            workers: processes that decode files; 0 decodes in this one.
            allow_missing: how many images that cannot be used are left out, each with a warning; one more is refused.
            progress: draw a progress bar on a terminal.

        Returns:
            The model itself.

        Raises:
            InputError: images or labels that cannot be used or do not fit each other; fewer images than codewords.
        """
        seed, workers = whole_number("seed", seed, None), whole_number("workers", workers, 0)
        left_out = LeftOut(whole_number("allow_missing", allow_missing, 0))
        with torch.inference_mode(False):  # gradients, whatever the caller switched off
            self._check_before_reading()
            split, read = training_split(
                images,
                labels,
                classes,
                side=self.side,
                workers=workers,
                left_out=left_out,
                check=self._check_sizes,
            )
            left_out.tell()
            with seeded(derive_seed(seed, "weights")):
                method = self._build(read.classes, read.several)
            log_of_all = method.fit(split, self.training, seed, Execution(self.device, progress=progress))
            embeddings = method.embed(split.images, progress=progress)
            for sign in code_signs(embeddings, method.encode(embeddings), self.codebook_size):
                log.warning("warning: %s", sign)
            self._method, self._labels, self.log = method, (read.classes, read.several), log_of_all
        return self

    def _check_before_reading(self) -> None:
        """Refuse what no images can mend, before hours of decoding."""
        self.config.check_training(self.training)
        self.weights = _read(self.weights)
        check_backbone(self.backbone, self.weights, self.training, learns=self.config.train_backbone)

    def _check_sizes(self, images: int | None, classes: int | None) -> None:
        """Refuse what these images cannot be trained with, and fetch weights that are not here yet."""
        if images is not None:
            additive.check_enough(images, self.codebook_size)
        if classes is not None:
            orthonormal_label_vectors(classes, self.embedding_dim)  # refuses too few dimensions
        if self.weights == "timm":
            with seeded(0):  # the caller's random state stays, whatever other threads do
                create_body(self.backbone, self.weights, self.training.image_size)  # downloads them

    def _build(self, classes: tuple[str, ...], several: bool) -> dpq.DPQMethod:
        self.weights = _read(self.weights)
        training = self.training
        backbone = Backbone(
            self.backbone, len(classes), self.embedding_dim, training.dropout, self.weights, training.image_size
        )
        vectors = orthonormal_label_vectors(len(classes), self.embedding_dim)
        built = dpq.DPQMethod(
            backbone, vectors, self.config, bits=self.bits, codebook_size=self.codebook_size, multi_label=several
        )
        built.training_config = self.training
        return built

    def embed(self, images: ImageInput, *, batch_size: int = 64, workers: int = 0) -> Tensor:
        """Embeddings [N, D] float32 on the CPU; the query side of a search. Arguments are as for `encode`."""
        embedded = list(self._embedded(images, batch_size, workers))
        return torch.cat(embedded) if embedded else torch.empty(0, self.embedding_dim)

    def encode(
        self,
        images: ImageInput,
        bits: int | None = None,
        *,
        batch_size: int = 64,
        workers: int = 0,
        progress: bool = False,
        left_out: LeftOut | None = None,
    ) -> Tensor:
        """Codes of images, which are read as they are needed and not kept.

        The same images in the same batches have the same codes on one machine. In other batches an embedding may differ
        in its last digits, and an image that lies between two codewords may then get the other one.

        Args:
            images: a folder (in the order of `dpq.inputs.images.list_images`); uint8 arrays [N, H, W, 3] or [N, H, W];
                uint8 tensors [N, 3, H, W], [N, 1, H, W] or [N, H, W]; or files, Pillow images and single arrays or
                tensors in any iterable or dataset.
            bits: code length; the longest unless given.
            batch_size: images that are in memory and embedded at once, at most 128.
            workers: processes that decode files of a folder or list; 0 decodes in this one.
            progress: draw a progress bar on a terminal.
            left_out: takes images that cannot be used, which have no code then; without it the first is refused.

        Returns:
            [N, M] uint8 on the CPU, one level per column: with 256 codewords per level, `bits / 8` of them.

        Raises:
            InputError: not trained; an image cannot be used; `bits` is no multiple of log2 K or more than was trained.
        """
        levels = additive.levels_for(self.bits, self.codebook_size)
        if bits is not None:
            levels = additive.prefix_levels(bits, levels, self.codebook_size)
        method, codes = self.method, [torch.empty(0, levels, dtype=torch.uint8)]
        total = len(images) if isinstance(images, Sized) and not isinstance(images, str) else None
        with tqdm(total=total, desc="encode", unit="image", leave=False, disable=None if progress else True) as bar:
            for batch in self._embedded(images, batch_size, workers, method, left_out):
                codes.append(method.encode(batch)[:, :levels])
                bar.update(len(batch))
        return torch.cat(codes)

    def decode(self, codes: Numbers) -> Tensor:
        """Reconstructions [N, D] of embeddings, from codes of any length.

        Inner products of `embed(queries)` with them rank the images that were encoded.

        Raises:
            InputError: they are no codes, or have more levels than were trained.
        """
        return additive.decode(as_tensor(codes, "codes").cpu(), self.method.codebooks.cpu())

    def _embedded(
        self,
        images: ImageInput,
        batch_size: int,
        workers: int,
        method: dpq.DPQMethod | None = None,
        left_out: LeftOut | None = None,
    ) -> Iterator[Tensor]:
        method = method or self.method  # one for all batches, though another thread may be about to replace it
        batch_size = whole_number("batch_size", batch_size, 1, 128)
        workers = whole_number("workers", workers, 0)
        for batch in batches(square_images(images, self.side, workers, left_out), batch_size):
            yield method.embed(batch)

    def to(self, device: str | torch.device) -> Self:
        """Move the model; returns itself."""
        self.device = _device(device)
        if self._method is not None:
            self._method.to(self.device)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder with `model.safetensors` and `config.json`, whole or not at all; a saved model is replaced.

        Raises:
            InputError: not trained, or the folder cannot be written or holds something else.
        """
        method = self.method
        classes, several = self._labels or ((), False)
        options = self.weights.model_options if isinstance(self.weights, WeightFile) else {}
        padding = str(options.get("pad_type", ""))
        backbone = SavedBackbone(self.backbone, padding, self.embedding_dim, method.preprocessing)
        sizes = self.bits, self.codebook_size
        saved = SavedConfig(SCHEMA_VERSION, __version__, backbone, classes, several, *sizes, self.config, self.training)
        write_model(Path(path), saved, method.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], *, device: str | torch.device = "auto") -> Self:
        """Load what `save` wrote; nothing is unpickled, nothing downloaded.

        Calling `fit` afterwards starts from the loaded network, with new heads and codebooks.

        Raises:
            InputError: the folder is missing, damaged, or of something else.
        """
        folder, chosen = Path(path), _device(device)
        saved, tensors = read_model(folder)
        # The network, in the form of weights to start from.
        prefix = "backbone.body."
        body = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        options = {"pad_type": saved.backbone.pad_type} if saved.backbone.pad_type else {}
        try:
            loaded = cls(
                saved.backbone.name,
                weights=WeightFile(folder.name, saved.sha256, body, options, saved.backbone.preprocessing),
                bits=saved.bits,
                codebook_size=saved.codebook_size,
                embedding_dim=saved.backbone.embedding_dim,
                training=saved.training,
                config=saved.method,
                device=chosen,
            )
            with seeded(0):
                method = loaded._build(saved.classes, saved.multi_label)
            restore_module(method, tensors, whole=True)
        except (ValueError, RuntimeError) as error:
            raise unusable(folder, error) from error
        loaded._method = method.to(loaded.device).eval()
        loaded._labels = (saved.classes, saved.multi_label)
        return loaded


def _read(weights: str | os.PathLike[str] | WeightFile | None) -> WeightFile | str | None:
    if weights is None or weights == "none":
        return None
    return weights if isinstance(weights, WeightFile) or weights == "timm" else read_weights(Path(weights))


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except Exception as error:  # each backend raises its own
        raise InputError(f"device {device} cannot be used; give auto, or what torch finds here", "device") from error
