"""What methods refuse that are made for one label an image."""

from __future__ import annotations

from dpq.errors import InputError
from dpq.protocols.base import Split


def refuse_several_labels(does: str, train: Split, codebook_size: int) -> None:
    """Refuse images of several classes; bound to `does`, the `check` of an entry.

    Args:
        does: what the method does with the one class, as a sentence begins.
        train: the training images.
        codebook_size: K, which has no part in it.

    Raises:
        InputError: there are some.
    """
    several = int((train.labels.sum(dim=1) > 1).sum())
    if several:
        raise InputError(f"{does}, and {several} training images have several; leave it out of --method on this data")
