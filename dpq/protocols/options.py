"""How the copy of a data set is read; decides no split."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """For protocols whose images are listed and come in sizes of their own.

    Attributes:
        side: height and width in pixels that images are resized to when they are decoded, once, whatever their own
            proportion (the papers: 256).
        allow_missing: how many of the published images a copy may lack, over all splits.
        strip_prefix: what to take off the paths in lists that name another machine's folders.
        workers: processes that decode; 0 decodes in this one, None takes one a core, at most 8.
    """

    side: int = 256
    allow_missing: int = 0
    strip_prefix: str | None = None
    workers: int | None = None
