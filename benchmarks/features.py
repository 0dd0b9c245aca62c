"""Embeddings on disk, for sources that several runs quantize: computed once, read by all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from dpq.checkpoint import load_checkpoint, restored_matrix, restored_seconds, save_checkpoint, unusable
from dpq.errors import one_line
from dpq.files import sweep
from dpq.images import Views
from dpq.on_embeddings import Source
from dpq.protocols.base import Images
from dpq.protocols.stored_images import StoredImages
from dpq.settings import Method


class StoredSource:
    """A source whose predictions are kept, one file for each set of images; for one process at a time.

    Args:
        source: computes what is not there yet.
        folder: of the files; its name stands for everything about the source that decides its predictions.

    Attributes:
        spared: seconds that reading files has spared so far; a run adds them to its encoding time.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self.source = source
        self.preprocessing = source.preprocessing
        self.folder = folder
        self.spared = 0.0

    def predict(self, images: Images, *, views: Views | None = None, progress: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] of uint8 images, on the CPU."""
        digest = hashlib.sha256(f"{_content(images)} {views} {list(images.shape)}".encode())
        path = self.folder / f"{digest.hexdigest()[:16]}.safetensors"
        if path.exists():
            started = time.perf_counter()
            tensors, state = load_checkpoint(path)
            try:
                embeddings, logits = (
                    restored_matrix(tensors, name, (len(images), None)) for name in ("embeddings", "logits")
                )
                seconds = restored_seconds(state)
            except ValueError as error:
                raise unusable(path, f"is not of these images ({one_line(error)})") from error
            self.spared += seconds - (time.perf_counter() - started)
            return embeddings, logits
        started = time.perf_counter()
        embeddings, logits = self.source.predict(images, views=views, progress=progress)
        seconds = time.perf_counter() - started
        sweep(path)
        save_checkpoint(path, {"embeddings": embeddings, "logits": logits}, {"seconds": seconds})
        return embeddings, logits


class TrainedOnDemand:
    """A method that is trained when its first prediction is asked for.

    Args:
        method: as built.
        train: trains it, or restores it from its checkpoint.
    """

    def __init__(self, method: Method, train: Callable[[], None]) -> None:
        self.method = method
        self.preprocessing = method.preprocessing
        self._train: Callable[[], None] | None = train

    def predict(self, images: Images, *, views: Views | None = None, progress: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] of uint8 images, on the CPU."""
        if self._train is not None:
            self._train()
            self._train = None
        return self.method.predict(images, views=views, progress=progress)


def _content(images: Images) -> str:
    """A digest that stands for the images."""
    if isinstance(images, StoredImages):
        return images.digest
    return hashlib.sha256(images[:].contiguous().numpy().data).hexdigest()
