"""A searchable index of the images in a folder, with the model that coded them. Axes: N images, M levels."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch

from dpq.errors import InputError
from dpq.files.places import real
from dpq.inputs.images import ImageInput, LeftOut, list_images
from dpq.learning.settings import Score
from dpq.method.api import DPQ
from dpq.method.saved import read_config
from dpq.protocols.archives import leaves_root
from dpq.ranking.scores import checked
from dpq.search.faiss import check_lists
from dpq.search.file import Origin
from dpq.search.index import CodeIndex, Found


class ImageIndex:
    """Images of a folder, coded by a trained model. Their names are their paths in the folder, with slashes.

    Args:
        model: that codes images and embeds queries.
        codes: with a name for every image.
        folder: that the names are relative to; images are read from it when they are added or shown.
    """

    def __init__(self, model: DPQ, codes: CodeIndex, folder: Path) -> None:
        self.model, self.codes, self.folder = model, codes, folder

    @classmethod
    def build(
        cls,
        model: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        bits: int | None = None,
        score: Score = "inner",
        lists: int = 0,
        device: str | torch.device = "auto",
        workers: int = 0,
        allow_missing: int = 0,
        progress: bool = False,
    ) -> Self:
        """Code all images of a folder and its sub-folders.

        Args:
            model: folder of a saved model.
            folder: with images; hidden ones are passed over.
            bits: code length; the longest that was trained unless given.
            score: "inner", which DPQ is trained for, or "l2".
            lists: of an inverted file, for large sets; 0 makes none.
            device: that the network runs on.
            workers: processes that decode files; 0 decodes in this one.
            allow_missing: how many images that cannot be used are left out, each with a warning; one more is refused.
            progress: draw a progress bar on a terminal.

        Raises:
            InputError: no model, no image, one that cannot be read, or a number out of range.
        """
        trained, root = DPQ.from_pretrained(model, device=device), real(folder)
        files = list_images(root)
        checked(score)
        if lists:
            check_lists(lists, len(files))
        files, codes = _coded(trained, files, bits, allow_missing, workers, progress)
        origin = Origin(str(real(model)), read_config(Path(model)).sha256, str(root))
        codebooks = trained.codebooks[: codes.shape[1]]
        index = CodeIndex(codes, codebooks, score, names=[_name(file, root) for file in files], origin=origin)
        if lists:
            index.divide(lists)
        return cls(trained, index, root)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
    ) -> Self:
        """Read an index that `save` wrote.

        Args:
            path: the file.
            model: folder of the model, if it is no longer where it was, seen from the file.
            folder: with the images, if they are no longer where they were.
            device: that the network runs on.

        Raises:
            InputError: the file cannot be used, or the model is missing or a different one.
        """
        index = load_named(path)
        at = Path(model) if model is not None else Path(index.origin.model)
        if read_config(at).sha256 != index.origin.model_sha256:
            raise InputError(
                f"{at} is another model than the one {path} was built with; give that one, or build the index again"
            )
        trained = DPQ.from_pretrained(at, device=device)
        return cls(trained, index, real(index.origin.images if folder is None else folder))

    def search(self, images: ImageInput, k: int = 10, *, bits: int | None = None, probes: int | None = None) -> Found:
        """The nearest images of the index for each image.

        Args:
            images: as for `dpq.DPQ.encode`.
            k: answers to each.
            bits: search by this much of the codes; all unless given.
            probes: as for `CodeIndex.search`.

        Raises:
            InputError: an image cannot be read, a number is out of range, or Faiss is not installed.
        """
        index = self.codes if bits is None else self.codes.prefix(bits)
        return index.search(self.model.embed(images), k, probes)

    def add(
        self,
        files: Sequence[str | os.PathLike[str]] | None = None,
        *,
        workers: int = 0,
        allow_missing: int = 0,
        progress: bool = False,
    ) -> list[str]:
        """Append images of the folder.

        Args:
            files: in the folder; all that the index does not hold unless given.
            workers: processes that decode files; 0 decodes in this one.
            allow_missing: as for `build`.
            progress: draw a progress bar on a terminal.

        Returns:
            Their names.

        Raises:
            InputError: a file is not in the folder, in the index already, or cannot be read; nothing is added.
        """
        held = set(self.codes.names)
        if files is None:
            new = [file for file in list_images(self.folder) if _name(file, self.folder) not in held]
        else:
            new = [Path(file) for file in files]
        names = [_name(file, self.folder) for file in new]
        double = next((name for name in names if name in held), None)
        if double is not None:
            raise InputError(f"{double} is in the index already; remove it first, if it is another image now")
        if not new:
            return []
        kept, codes = _coded(self.model, new, self.codes.bits, allow_missing, workers, progress)
        names = [_name(file, self.folder) for file in kept]
        self.codes.add(codes, names=names)
        return names

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a file, which finds model and images from where it lies. Neither is copied.

        Raises:
            InputError: it cannot be written, or there is something else than an index.
        """
        save_named(self.codes, path)


def _coded(
    model: DPQ, files: Sequence[Path], bits: int | None, allow_missing: int, workers: int, progress: bool
) -> tuple[list[Path], torch.Tensor]:
    """The files that could be used, and their codes."""
    left_out = LeftOut(allow_missing)
    codes = model.encode(files, bits, workers=workers, progress=progress, left_out=left_out)
    left_out.tell()
    if not len(codes):
        raise InputError(f"none of {len(files)} images can be used; mend some")
    return [files[row] for row in left_out.kept(len(files))], codes


def load_named(path: str | os.PathLike[str]) -> CodeIndex:
    """An index of image files, with the places of its origin as they are seen from here.

    Raises:
        InputError: the file cannot be used, or its names are no relative paths.
    """
    index, beside = CodeIndex.load(path), real(path).parent
    if not index.origin.model or not index.origin.images or (len(index) and not index.names):
        raise InputError(f"{path} is no index of image files; make one with: python -m dpq index build")
    if any(map(leaves_root, index.names)):
        raise InputError(f"{path} names images outside of their folder; build it again")
    index.origin = replace(
        index.origin, model=str(beside / index.origin.model), images=str(real(beside / index.origin.images))
    )
    return index


def save_named(index: CodeIndex, path: str | os.PathLike[str]) -> None:
    """Write what `load_named` reads.

    Raises:
        InputError: it cannot be written, or there is something else than an index.
    """
    beside, moved = real(path).parent, copy.copy(index)
    model, images = (_seen_from(beside, place) for place in (index.origin.model, index.origin.images))
    moved.origin = replace(index.origin, model=model, images=images)
    moved.save(path)


def name_of(file: str | os.PathLike[str], index: CodeIndex) -> str:
    """The name of an image in an index: what is given, if it is one, or its path in the folder.

    Raises:
        InputError: the file is not in the folder of the images.
    """
    given = Path(file).as_posix()
    return given if given in index.names else _name(Path(file), Path(index.origin.images))


def _name(file: Path, folder: Path) -> str:
    # The file itself may be a link, and be gone already; its folder tells where it is, unless that is a link inside.
    whole = file if file.is_relative_to(folder) and ".." not in file.parts else real(file.parent) / file.name
    if not whole.is_relative_to(folder):
        raise InputError(f"{file} is not in {folder}, the folder of the index; move it there first")
    return whole.relative_to(folder).as_posix()


def _seen_from(folder: Path, place: str) -> str:
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:  # another drive
        return place
