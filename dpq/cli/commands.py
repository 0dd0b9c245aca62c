"""What the commands of `python -m dpq` do."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from dpq.files.atomic import check_place, write_atomically
from dpq.files.places import real
from dpq.method.api import DPQ
from dpq.method.saved import refuse_others as refuse_other_folders
from dpq.protocols.base import SPLITS
from dpq.search.faiss import import_faiss
from dpq.search.file import refuse_others as refuse_other_files
from dpq.search.grid import Picture, picture_grid
from dpq.search.images import ImageIndex, load_named, name_of, save_named
from dpq.search.index import Found

log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> None:
    """Run the command that was parsed.

    Raises:
        InputError: a mistake of the caller.
    """
    actions = {"build": build, "search": search, "add": add, "remove": remove}
    (train if options.command == "train" else actions[options.action])(options)


def train(options: argparse.Namespace) -> None:
    """Train a model and save it."""
    refuse_other_folders(real(options.output))  # before what takes long
    check_place(options.output)
    names = ("backbone", "weights", "bits", "codebook_size", "embedding_dim", "image_size", "epochs", "batch_size")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    model = DPQ(device=options.device, **given)
    given = {"workers": options.workers, "allow_missing": options.allow_missing}
    model.fit(options.folder, seed=options.seed, progress=True, **given)
    model.save(options.output)
    log.info("%s: codes of %d bits, trained on %d classes", options.output, model.bits, len(model.classes))


def build(options: argparse.Namespace) -> None:
    """Make an index of a folder."""
    import_faiss()  # before what takes long
    refuse_other_files(options.output)
    check_place(options.output)
    given = {name: getattr(options, name) for name in ("bits", "score", "lists", "device", "workers", "allow_missing")}
    index = ImageIndex.build(options.model, options.folder, progress=True, **given)
    index.save(options.output)
    log.info("%s: %d images of %d bits", options.output, len(index.codes), index.codes.bits)


def search(options: argparse.Namespace) -> None:
    """Print, and draw, the nearest images."""
    import_faiss()
    index = _load(options)
    found = index.search(options.images, options.k, bits=options.bits, probes=options.probes)
    for image, rows, scores in zip(options.images, found.rows, found.scores, strict=True):
        print(image)
        for rank, (row, score) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True), start=1):
            if row >= 0:
                print(f"{rank:4}  {score:10.4f}  {index.codes.names[row]}")
    if options.grid is not None:
        write_atomically(options.grid, picture_grid(_pictures(index, options.images, found)), "choose another --grid")
        log.info("%s", options.grid)


def _pictures(index: ImageIndex, images: list[Path], found: Found) -> list[tuple[Picture, list[Picture]]]:
    """Queries with their answers, marked where the query lies in a class folder of the index."""
    names, rows = index.codes.names, []
    in_splits = {PurePosixPath(name).parts[0] for name in names} == set(SPLITS)
    of_name = {name: _class_of(name, in_splits) for name in names}
    classes = set(of_name.values()) - {""}
    for image, nearest in zip(images, found.rows, strict=True):
        own = normalize("NFC", Path(os.path.abspath(image)).parent.name)
        own = own if own in classes else ""
        answers = []
        for name in (names[row] for row in nearest.tolist() if row >= 0):
            of = of_name[name]
            answers.append(Picture(index.folder / name, of or name, wrong=own not in ("", of)))
        rows.append((Picture(image, own or image.name), answers))
    return rows


def _class_of(name: str, in_splits: bool) -> str:
    """The class folder of an image in the index, if it lies in one, directly or in the folder of a split."""
    parts = PurePosixPath(name).parts[in_splits:]
    return normalize("NFC", parts[0]) if len(parts) > 1 else ""


def add(options: argparse.Namespace) -> None:
    """Append images to an index."""
    index = _load(options)
    names = index.add(
        options.images or None, workers=options.workers, allow_missing=options.allow_missing, progress=True
    )
    if names:
        index.save(options.index)
    log.info("%s: %d images added, %d in all", options.index, len(names), len(index.codes))


def remove(options: argparse.Namespace) -> None:
    """Take images out of an index."""
    index = load_named(options.index)
    names = sorted({name_of(image, index) for image in options.images})
    index.remove(index.ids_of(names))
    save_named(index, options.index)
    log.info("%s: %d images removed, %d left", options.index, len(names), len(index))


def _load(options: argparse.Namespace) -> ImageIndex:
    return ImageIndex.load(options.index, model=options.model, folder=options.images_root, device=options.device)
