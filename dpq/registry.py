"""How a package of its own adds a method: an entry point of the group `dpq.methods` names a `MethodEntry`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from dpq.backbone import Backbone
from dpq.errors import InputError
from dpq.on_embeddings import SearchConfig, Source
from dpq.protocols.base import Split
from dpq.recorded import as_recorded
from dpq.scores import Score
from dpq.settings import Method

GROUP = "dpq.methods"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # also of files
TITLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,+()/'-]*")  # nothing that Markdown or LaTeX reads as its own

SourceName = Literal["backbone", "dpq"]


@dataclass(frozen=True)
class MethodContext:
    """What an untrained method is built from.

    Attributes:
        config: of the method: an instance of its entry's `config`.
        bits: code length to train.
        codebook_size: codewords per level K.
        classes: number of classes L.
        label_vectors: [L, D], one of unit length a class.
        backbone: makes the experiment's network, with a classifier of so many classes; 0 for none.
        embeddings: what `source` gives.
    """

    config: Any
    bits: int
    codebook_size: int
    classes: int
    label_vectors: Tensor
    backbone: Callable[[int], Backbone]
    embeddings: Source | None = None

    def source(self) -> Source:
        """Where the embeddings come from that the method quantizes.

        Raises:
            InputError: the entry names no source.
        """
        if self.embeddings is None:
            raise InputError('a method that quantizes given embeddings must say so: MethodEntry(source="backbone")')
        return self.embeddings


@dataclass(frozen=True)
class MethodEntry:
    """A method, as a package offers it.

    Attributes:
        build: makes an untrained method; its random numbers come from torch's global generator, which is seeded.
        title: name in tables and figures.
        progressive: a prefix of a code is itself a code, so one training serves every length.
        config: frozen dataclass of the method's settings, all with defaults; `score` says how it ranks.
        source: whose embeddings are quantized: "backbone" for frozen features, "dpq" for those of a trained DPQ, which
            then decides how is ranked; None for a method that trains features of its own.
        check: refuses, with an `InputError`, training images and codebook sizes K that the method is not made for.

    Raises:
        InputError: a title that tables cannot print, an unknown source, or unusable settings.
    """

    build: Callable[[MethodContext], Method]
    title: str
    progressive: bool
    config: type[Any] = SearchConfig
    source: SourceName | None = None
    check: Callable[[Split, int], None] | None = None

    def __post_init__(self) -> None:
        """Refuse what would only fail in a run or in a table."""
        if not callable(self.build):
            raise InputError(f"build must be callable; got {self.build!r}")
        if not isinstance(self.title, str) or not TITLE.fullmatch(self.title):
            raise InputError(f"the title must be letters, digits, spaces and .,+()/'-; got {self.title!r}")
        if self.source not in (None, *get_args(SourceName)):
            raise InputError(
                f"the source must be one of {', '.join(get_args(SourceName))}, or None; got {self.source!r}"
            )
        if fault := _config_fault(self.config):
            raise InputError(f"the settings {getattr(self.config, '__name__', self.config)!s} {fault}")


def _config_fault(config: Any) -> str:
    """What is wrong with a class of settings; empty if nothing is."""
    if not (isinstance(config, type) and is_dataclass(config) and config.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        return "must be a frozen dataclass"
    try:
        defaults = config()
        hash(defaults)
        recorded = as_recorded(defaults)
        json.dumps(recorded, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"must have defaults, all of them JSON-able ({error})"
    if nested := [key for key, value in recorded.items() if not isinstance(value, str | int | float | None)]:
        return f"must hold texts, numbers and flags; {nested[0]} is none"
    if getattr(defaults, "score", None) not in get_args(Score):
        return f"must have a field score, one of {', '.join(get_args(Score))}"
    return ""
