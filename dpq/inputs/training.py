"""A training split from images and labels in whatever form a caller has them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dpq.errors import InputError
from dpq.files.places import is_folder
from dpq.inputs.images import ImageInput, LeftOut, dataset_items, list_images, square_images
from dpq.inputs.values import as_array
from dpq.protocols.base import Images, Split
from dpq.protocols.folder.layout import find_training_images
from dpq.protocols.store.files import write_all
from dpq.protocols.store.read import ImageStore, Inspection, NamelessFile, StoredImages

IN_MEMORY = 1 << 30  # bytes of decoded images; from here on they stay on the disk


LabelInput: TypeAlias = "Sequence[str] | Sequence[int] | npt.NDArray[Any] | Tensor"


def training_split(
    images: ImageInput,
    labels: LabelInput | None,
    classes: Sequence[str] | None,
    *,
    side: int,
    workers: int,
    left_out: LeftOut | None = None,
    check: Callable[[int | None, int | None], None] = lambda images, classes: None,
) -> tuple[Split, Labels]:
    """Decoded images with their labels.

    Args:
        images: as for `square_images`; without labels a folder as `find_training_images` reads it, or a dataset of
            pairs.
        labels: as for `read_labels`; None takes those that come with the images.
        classes: as for `read_labels`; None takes those of a dataset that has `classes`.
        side: images are resized to.
        workers: processes that decode files.
        left_out: as for `square_images`.
        check: called before the first image is read, with the numbers of images and of classes; None for what only
            reading tells.

    Raises:
        InputError: images or labels that cannot be used or do not fit each other; no image of a class is left; what
            `check` raises.
    """
    source: Any = images
    found: Any = labels
    left_out = left_out or LeftOut()
    late = labels is None and isinstance(images, Dataset)  # labels come with the images
    if labels is None and isinstance(images, str | os.PathLike):
        source, found, classes = _of_folder(Path(images), classes)
    elif labels is None:
        source, found, classes = _of_dataset(images, classes)
    elif isinstance(images, str | os.PathLike) and is_folder(images):
        source = list_images(images)
    read = None if late else read_labels(found, classes)
    count = _count(images if late else source)
    if read is not None and count is not None:
        _refuse_unpaired(count, read)
    names = classes if read is None else read.classes
    check(count, None if names is None else len(names))
    kept = keep_images(square_images(source, side, workers, left_out), side)
    if read is None:
        try:
            labels = np.stack([np.asarray(label) for label in found])
        except ValueError as error:
            raise InputError(f"labels of images differ in form: {error}") from error
        read = read_labels(labels, classes)
    every = len(kept) + len(left_out.found)
    _refuse_unpaired(every, read)
    matrix = read.matrix[left_out.kept(every)]
    gone = read.matrix.any(dim=0) & ~matrix.any(dim=0)
    if gone.any():
        lost = [name for name, is_gone in zip(read.classes, gone, strict=True) if is_gone]
        raise InputError(f"no image that can be used is left of the classes {_few(lost)}; mend some of theirs")
    return Split(kept, matrix), replace(read, matrix=matrix)


def _refuse_unpaired(images: int, read: Labels) -> None:
    if images != len(read.matrix):
        raise InputError(f"there are {images} images but {len(read.matrix)} labels; give one for each")


def _count(images: Any) -> int | None:
    """How many images there are, where that is known before they are read."""
    try:
        return None if isinstance(images, str) else len(images)
    except (TypeError, NotImplementedError):  # a stream, a file, an image
        return None


def keep_images(images: Iterable[npt.NDArray[np.uint8]], side: int, in_memory: int = IN_MEMORY) -> Images:
    """Every image of a stream, for reading in any order.

    Args:
        images: [3, side, side] each.
        side: of the images.
        in_memory: bytes up to which the result is a tensor; beyond, it is in a temporary file that has no name, so that
            nothing is left of it whatever ends the process.

    Raises:
        InputError: no image, or no room for the file.
    """
    held, file, count = bytearray(), None, 0
    for image in images:
        count += 1
        held += np.ascontiguousarray(image).data.cast("B")
        if file is None and len(held) <= in_memory:
            continue
        try:
            file = file or NamelessFile()
            write_all(file.content.raw, memoryview(held))
        except OSError as error:
            raise InputError(
                f"cannot keep decoded images in the temporary folder ({error.strerror}); "
                "set TMPDIR to a folder with more room"
            ) from error
        held = bytearray()
    if not count:
        raise InputError("there are no images; give at least one")
    if file is None:
        return torch.frombuffer(held, dtype=torch.uint8).view(count, 3, side, side)
    return StoredImages(ImageStore(file, (), side, Inspection((), {})), torch.arange(count))


def _of_folder(folder: Path, classes: Sequence[str] | None) -> tuple[list[Path], LabelInput, Sequence[str] | None]:
    """The files of a folder with their labels, and the classes."""
    images = find_training_images(folder)
    files = [folder / name for name in images.files]
    if images.multi_label:
        names = images.classes if classes is None else tuple(map(str, classes))
        if unknown := sorted(set(images.classes) - set(names)):
            raise InputError(f"label {unknown[0]!r} is not among the classes {_few(names)}")
        return files, np.array([[name in entry.labels for name in names] for entry in images.entries]), names
    return files, [entry.labels[0] for entry in images.entries], classes


def _of_dataset(
    images: ImageInput, classes: Sequence[str] | None
) -> tuple[Iterable[Any], list[Any], Sequence[str] | None]:
    """Images that bring their labels: the images, a list that has all labels once they are read, the classes."""
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
            classes are the different labels, sorted; columns of a matrix are called by their number. However accents
            are composed, a name is the same (NFC).

    Raises:
        InputError: labels of another form; fewer than two classes; an image without label, or a label without class.
    """
    names = None if classes is None else tuple(unicodedata.normalize("NFC", str(name)) for name in classes)
    tensors = isinstance(labels, list | tuple) and any(isinstance(label, Tensor) for label in labels)
    try:
        read = isinstance(labels, Tensor) or tensors or np.ma.is_masked(labels)  # NumPy would drop masks
        array = as_array(labels, "labels") if read else np.asarray(labels)
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
        if texts:
            array = np.array([unicodedata.normalize("NFC", label) for label in array.tolist()], dtype=object)
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
