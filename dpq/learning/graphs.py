"""Work that is the same at every call: on a GPU replayed as one CUDA graph, not launched operation by operation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from dpq.errors import one_line

log = logging.getLogger(__name__)

WARM_UP = 4  # calls beside the default stream before a graph is made of one: lazy state, workspaces, autotuning


class Replayed:
    """A function of tensors, as a graph on CUDA after its first calls, and as it is everywhere else.

    The calls before the graph is made are real calls, so nothing is computed that eager calls would not compute, and
    what is drawn is drawn alike. Whatever the function reads and writes besides its arguments must stay in its place.

    Args:
        function: of tensors of constant shapes; returns named tensors. It reads no value on the host.
        device: that it works on; anything but CUDA leaves it as it is.

    Attributes:
        used: a graph was replayed at least once.
    """

    def __init__(self, function: Callable[..., dict[str, Tensor]], device: torch.device) -> None:
        self.function = function
        self.used = False
        self._possible = device.type == "cuda"
        self._key: Hashable = None
        self._calls = 0
        self._graph: Any = None
        self._places: tuple[Tensor, ...] = ()
        self._result: dict[str, Tensor] = {}

    def __call__(self, key: Hashable, *tensors: Tensor) -> dict[str, Tensor]:
        """The function's result, which the next call may overwrite.

        Args:
            key: decides which operations the function consists of; None where even that is not known.
            tensors: its arguments.
        """
        if key is None or not self._possible:
            return self.function(*tensors)
        if key != self._key:
            self._key, self._calls, self._graph, self._result = key, 0, None, {}
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._beside(tensors)
        if self._graph is None and not self._captured(tensors):
            return self.function(*tensors)
        for place, tensor in zip(self._places, tensors, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        self.used = True
        return self._result

    def _beside(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """A call on a stream of its own, as capturing is."""
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(main)
        with torch.cuda.stream(side):
            result = self.function(*tensors)
        main.wait_stream(side)
        for tensor in (*tensors, *result.values()):
            tensor.record_stream(side)
        return result

    def _captured(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether a graph could be made; capturing computes nothing."""
        self._places = tuple(tensor.clone() for tensor in tensors)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._result = self.function(*self._places)
        except RuntimeError as error:
            self._possible = False
            log.info("steps are launched operation by operation: no graph can be made (%s)", one_line(error))
            return False
        self._graph = graph
        return True
