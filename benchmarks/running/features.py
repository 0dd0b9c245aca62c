"""Embeddings on disk, for sources that several runs quantize: computed once, read by all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dpq.errors import one_line
from dpq.files.atomic import sweep
from dpq.files.checkpoint import (
    load_checkpoint,
    restored_environments,
    restored_matrix,
    restored_seconds,
    save_checkpoint,
    unusable,
    with_environment,
)
from dpq.learning.entry import Source
from dpq.learning.settings import TrainLog, Views
from dpq.protocols.base import Images
from dpq.protocols.store.read import StoredImages


class StoredSource:
    """A source whose predictions are kept, one file for each set of images; for one process at a time.

    Args:
        source: computes what is not there yet.
        folder: of the files; its name stands for everything about the source that decides its predictions.
        trained: what the training of the source left behind; or trains the source, or restores it, before the first
            prediction that is not there. None without a training.
        environment: where this is, which files keep.

    Attributes:
        environments: where what was predicted was trained and computed, as of `TrainLog`.
        spared: seconds that reading files has spared so far; a run adds them to its encoding time.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        trained: TrainLog | Callable[[], TrainLog] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.preprocessing = source.preprocessing
        self.folder = folder
        self.spared = 0.0
        self.environments: list[Mapping[str, Any] | None] = []
        self._trained, self._environment = trained, environment

    def predict(
        self,
        images: Images,
        *,
        views: Views | None = None,
        crop_seed: int | None = None,
        progress: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [N, D] and class logits [N, L] of uint8 images, on the CPU."""
        content = images.digest if isinstance(images, StoredImages) else None
        content = content or hashlib.sha256(images[:].contiguous().numpy().data).hexdigest()
        drawn = {} if crop_seed is None else {"crop_seed": crop_seed}
        digest = hashlib.sha256(" ".join(map(str, (content, views, list(images.shape), *drawn.values()))).encode())
        path = self.folder / f"{digest.hexdigest()[:16]}.safetensors"
        if path.exists():
            started = time.perf_counter()
            tensors, state = load_checkpoint(path)
            try:
                embeddings, logits = (
                    restored_matrix(tensors, name, (len(images), None)) for name in ("embeddings", "logits")
                )
                seconds, parts = restored_seconds(state), restored_environments(state)
            except ValueError as error:
                raise unusable(path, f"is not of these images ({one_line(error)})") from error
            self._note(parts)
            self.spared += seconds - (time.perf_counter() - started)
            return embeddings, logits
        started = time.perf_counter()
        if callable(self._trained):
            self._trained = self._trained()
        embeddings, logits = self.source.predict(images, views=views, progress=progress, **drawn)
        seconds = time.perf_counter() - started
        sweep(path)
        parts = with_environment(self._trained.environments if self._trained else (), self._environment)
        self._note(parts)
        state = {"seconds": seconds, "environments": parts}
        save_checkpoint(path, {"embeddings": embeddings, "logits": logits}, state)
        return embeddings, logits

    def _note(self, parts: Sequence[Mapping[str, Any] | None]) -> None:
        for part in parts:
            self.environments = with_environment(self.environments, part)
