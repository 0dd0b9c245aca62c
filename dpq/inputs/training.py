"""A training split from images and labels in whatever form a caller has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dpq.errors import InputError
from dpq.inputs.images import ImageInput, dataset_items, list_images, square_images
from dpq.protocols.base import Images, Split
from dpq.protocols.store.files import write_all
from dpq.protocols.store.read import ImageStore, Inspection, StoredImages

IN_MEMORY = 1 << 30  # bytes of decoded images; from here on they stay on the disk


LabelInput: TypeAlias = "Sequence[str] | Sequence[int] | npt.NDArray[Any] | Tensor"


def training_split(
    images: ImageInput,
    labels: LabelInput | None,
    classes: Sequence[str] | None,
    *,
    side: int,
    workers: int,
    folder: Path,
    check: Callable[[int | None, int | None], None] = lambda images, classes: None,
) -> tuple[Split, Labels]:
    """Decoded images with their labels.

    Args:
        images: as for `square_images`; without labels a folder of class folders, or a dataset of pairs.
        labels: as for `read_labels`; None takes those that come with the images.
        classes: as for `read_labels`; None takes those of a dataset that has `classes`.
        side: images are resized to.
        workers: processes that decode files.
        folder: for decoded images, in use as long as the split is.
        check: called before the first image is read, with the numbers of images and of classes; None for what only
            reading tells.

    Raises:
        InputError: images or labels that cannot be used or do not fit each other; what `check` raises.
    """
    source: Any = images
    found: Any = labels
    if labels is None:
        source, found, classes = _labelled(images, classes)
    elif isinstance(images, str | os.PathLike) and Path(images).is_dir():
        source = list_images(images)
    late = labels is None and isinstance(images, Dataset)  # labels come with the images
    read = None if late else read_labels(found, classes)
    count = _count(images if late else source)
    if read is not None and count is not None:
        _refuse_unpaired(count, read)
    names = classes if read is None else read.classes
    check(count, None if names is None else len(names))
    kept = keep_images(square_images(source, side, workers), side, folder)
    if read is None:
        try:
            labels = np.stack([np.asarray(label) for label in found])
        except ValueError as error:
            raise InputError(f"labels of images differ in form: {error}") from error
        read = read_labels(labels, classes)
    _refuse_unpaired(len(kept), read)
    return Split(kept, read.matrix), read


def _refuse_unpaired(images: int, read: Labels) -> None:
    if images != len(read.matrix):
        raise InputError(f"there are {images} images but {len(read.matrix)} labels; give one for each")


def _count(images: Any) -> int | None:
    """How many images there are, where that is known before they are read."""
    try:
        return None if isinstance(images, str) else len(images)
    except (TypeError, NotImplementedError):  # a stream, a file, an image
        return None


def keep_images(images: Iterable[npt.NDArray[np.uint8]], side: int, folder: Path, in_memory: int = IN_MEMORY) -> Images:
    """Every image of a stream, for reading in any order.

    Args:
        images: [3, side, side] each.
        side: of the images.
        folder: for a file of 3 * side**2 bytes per image; in use until the result is, where that stays on the disk.
        in_memory: bytes up to which the result is a tensor.

    Raises:
        InputError: no image, or no room for the file.
    """
    path = folder / "images"
    with path.open("wb", buffering=0) as file:  # so that closing it has nothing left to write
        for image in images:
            try:
                write_all(file, np.ascontiguousarray(image).data.cast("B"))
            except OSError as error:
                raise InputError(
                    f"cannot keep decoded images in {folder} ({error.strerror}); set TMPDIR to a folder with more room"
                ) from error
    if not (size := path.stat().st_size):
        raise InputError("there are no images; give at least one")
    stored = StoredImages(ImageStore(path, (), side, Inspection((), {})), torch.arange(size // (3 * side**2)))
    return stored if size > in_memory else stored[:]


def _labelled(
    images: ImageInput, classes: Sequence[str] | None
) -> tuple[Iterable[Any], list[Any], Sequence[str] | None]:
    """Images that bring their labels: the images, a list that has all labels once they are read, the classes."""
    if isinstance(images, str | os.PathLike):
        files = list_images(images)
        parts = [file.relative_to(images).parts for file in files]
        if alone := [file for file, (_, *inside) in zip(files, parts, strict=True) if not inside]:
            raise InputError(f"{alone[0]} is in no class folder; sort images into one folder per class, or give labels")
        return files, [folder for folder, *_ in parts], classes
    if not isinstance(images, Dataset):
        raise InputError("training needs labels; give them, a folder of class folders, or a dataset of pairs")
    found: list[Any] = []
    return _pairs(images, found), found, getattr(images, "classes", None) if classes is None else classes


def _pairs(dataset: Dataset[Any], labels: list[Any]) -> Iterator[Any]:
    """The images of a dataset of pairs; labels are added to the list as they pass by."""
    for index, pair in enumerate(dataset_items(dataset)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"item {index} of the dataset is no pair of image and label; give labels")
        labels.append(pair[1])
        yield pair[0]


@dataclass(frozen=True)
class Labels:
    """What images are of."""

    classes: tuple[str, ...]  # L names, in the order of the columns
    matrix: Tensor  # [N, L] bool

    @property
    def several(self) -> bool:
        """Whether an image has more than one label."""
        return bool((self.matrix.sum(dim=1) > 1).any())


def read_labels(labels: LabelInput, classes: Sequence[str] | None = None) -> Labels:
    """The classes and the matrix that labels stand for.

    Args:
        labels: N class names; N integers; or a boolean matrix [N, L], for images with several labels.
        classes: names of the columns. Class names must be among them, integers count them from 0. Without it the
            classes are the different labels, sorted; columns of a matrix are called by their number.

    Raises:
        InputError: labels of another form; fewer than two classes; an image without label, or a label without class.
    """
    names = None if classes is None else tuple(map(str, classes))
    try:
        array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    except ValueError as error:  # rows of different lengths
        raise InputError(
            "labels differ in form; for images with several of them give a boolean matrix [N, L], names as classes"
        ) from error
    if array.dtype == np.bool_ and array.ndim == 2:
        names = tuple(map(str, range(array.shape[1]))) if names is None else names
        if len(names) != array.shape[1]:
            raise InputError(f"the label matrix has {array.shape[1]} columns, but there are {len(names)} classes")
        matrix = array.copy()
    else:
        texts = array.ndim == 1 and array.dtype.kind in "UO" and all(isinstance(label, str) for label in array.tolist())
        if array.ndim != 1 or not (texts or array.dtype.kind in "iu"):
            raise InputError(
                f"labels are class names, integers or a boolean matrix [N, L]; got {array.dtype} {list(array.shape)}"
            )
        if names is None:
            present, columns = np.unique(array, return_inverse=True)
            names = tuple(map(str, present.tolist()))
        else:
            columns = _columns(array, names)
        matrix = np.zeros((len(array), len(names)), dtype=np.bool_)
        matrix[np.arange(len(array)), columns] = True
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"training tells at least two classes of different names apart; got {_few(names)}")
    if any("\ud800" <= letter <= "\udfff" for name in names for letter in name):
        raise InputError(f"class names must be texts that UTF-8 can hold; got {_few(names)}")
    unlabelled = np.flatnonzero(~matrix.any(axis=1))
    if len(unlabelled):
        raise InputError(f"{len(unlabelled)} images have no label, the first is image {unlabelled[0]}; leave them out")
    return Labels(names, torch.from_numpy(matrix))


def _columns(labels: npt.NDArray[Any], names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Which of the names each of N labels is, names themselves or integers."""
    if labels.dtype.kind in "iu":
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise InputError(
                f"integer labels of {len(names)} classes are 0 to {len(names) - 1}; "
                f"got {labels.min()} to {labels.max()}"
            )
        return labels.astype(np.int64)
    column = {name: index for index, name in enumerate(names)}
    if unknown := sorted(set(labels.tolist()) - column.keys()):
        raise InputError(f"label {unknown[0]!r} is not among the classes {_few(names)}")
    return np.array([column[label] for label in labels.tolist()], dtype=np.int64)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "") if names else "none"
