"""100 classes of ImageNet, in DPQ's draw and in HashNet's: which images belong to the splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dpq.errors import InputError
from dpq.files.places import is_file
from dpq.protocols.base import SplitName
from dpq.protocols.listed.imagenet_layout import (
    ILSVRC_CLASSES,
    LAYOUTS,
    check_wnids,
    list_training_folders,
    located,
    read_classes,
    wnids_by_column,
)
from dpq.protocols.listed.listing import Listing, Published
from dpq.protocols.listed.lists import Listed, column, column_or_one_hot, find_lists, mapped, read_list

PUBLISHED = Published(
    sizes={"train": 10_000, "query": 5_000, "database": 128_564},
    labels_per_image={},
    per_class={"train": 100, "query": 50},
    digests={
        "train": "67067010967e93d2ebdf0b680c4077d57f113c283ca3c3ff2298361034366247",
        "query": "6a1fd988a1128cf1a1fbcf75aa4a8c3b708bb81754e15b7be7cb25550dc979d5",
    },
)
PUBLISHED_HASHNET = Published(
    sizes={"train": 13_000, "query": 5_000, "database": 128_503},
    labels_per_image={},
    per_class={"train": 130, "query": 50},
    digests={
        "train": "2444e9ba7d46cdfdb51aa1eecf7d7a534dc088140d501f44891a5446aa2fe85a",
        "query": "c03fbdcd02164be1fccfd848674e838719d1185a966f38544d494a6021f00b3b",
        "database": "9d426ac5a3c9deadbcb508f0b522d0ed45fd4b49849f1570033df919798be40e",
    },
)
_HASHNET_CLASSES = 100
_IMAGES = "the images are train and val of ILSVRC2012 (image-net.org)"
_LISTS = f"they are data/imagenet of the repository cfm-uestc/DPQ; {_IMAGES}"
_HASHNET_LISTS = (
    "they are train.txt, and test/test0.txt to test7.txt and test/database0.txt to database7.txt each joined, in "
    f"caffe/data/imagenet of the repository thuml/HashNet; {_IMAGES}"
)


def list_imagenet100(root: Path, *, strip_prefix: str | None = None) -> Listing:
    """DPQ's draw: 100 training images per class, its 50 validation images as queries (Gao et al. 2019, released lists).

    The columns are in the order of `classes.txt` beside the lists, or else of first appearance in the training
    list. Without a list of the database it is all that the training folders of the classes hold.

    Args:
        root: folder with the images; the lists are in it or in its `imagenet100/`.
        strip_prefix: folder that all listed paths start with and that is cut off.

    Returns:
        The images; mAP is cut at 1000 and 5000, since the paper's cut is not known.

    Raises:
        InputError: lists or training folders are missing, or do not belong together.
    """
    lists = find_lists(root, "imagenet100", _LISTS)
    table = lists["train"].with_name("classes.txt")
    if is_file(table):
        wnid_by_id = read_classes(table)
    else:
        wnid_by_id = wnids_by_column(read_list(lists["train"], column(ILSVRC_CLASSES), strip_prefix=strip_prefix))
    form = mapped(list(wnid_by_id), f"the class ids of the {len(wnid_by_id)} classes")
    splits = {name: read_list(path, form, strip_prefix=strip_prefix) for name, path in lists.items()}
    return _listing("imagenet100", root, tuple(wnid_by_id.values()), splits, PUBLISHED)


def list_imagenet100_hashnet(root: Path, *, strip_prefix: str | None = None) -> Listing:
    """HashNet's draw: 130 training images per class, its 50 validation images as queries (Cao et al. 2017, HashNet).

    Of its classes 13 are also in DPQ's. Labels are one column number, or 100 columns of which one is set, as
    published; the names of the images tell the classes.

    Args:
        root: folder with the images; the lists are in it or in its `imagenet100_hashnet/`.
        strip_prefix: folder that all listed paths start with and that is cut off.

    Returns:
        The images; mAP is cut at 1000, and 5000 to compare with DPQ's draw.

    Raises:
        InputError: lists are missing, or do not belong together.
    """
    lists = find_lists(root, "imagenet100_hashnet", _HASHNET_LISTS, with_database=True)
    form = column_or_one_hot(_HASHNET_CLASSES)
    splits = {name: read_list(path, form, strip_prefix=strip_prefix) for name, path in lists.items()}
    wnid_by_column = wnids_by_column(splits["train"], splits["database"])
    wnids = tuple(wnid_by_column[at] for at in sorted(wnid_by_column))
    for at in range(len(wnids)):
        if at not in wnid_by_column:
            source = splits["database"].source
            raise InputError(f"{source}: no image has label {at}, but some have a higher one; complete it")
    splits = {name: _narrowed(split, len(wnids)) for name, split in splits.items()}
    return _listing("imagenet100-hashnet", root, wnids, splits, PUBLISHED_HASHNET)


def _listing(
    protocol: str, root: Path, wnids: tuple[str, ...], splits: dict[SplitName, Listed], published: Published
) -> Listing:
    """The listing of splits whose labels fit their images, with the files; the database may be the training folders."""
    for name, split in splits.items():
        if name != "query":
            check_wnids(split, wnids)
    found = {name: located(root, split, LAYOUTS[name], wnids) for name, split in splits.items()}
    if "database" not in found:
        found["database"] = list_training_folders(root, splits["train"], wnids)
    # The further cut is that of the script of DVSQ, which DPQ compares with.
    return Listing(protocol, wnids, found, published, cut=1000, further_cuts=(5000,))


def _narrowed(split: Listed, classes: int) -> Listed:
    """The split with the label columns of the classes that the database has."""
    beyond = split.labels[:, classes:].any(dim=1).nonzero().flatten()
    if len(beyond):
        raise InputError(
            f"{split.source}: {split.paths[int(beyond[0])]!r} has a label above {classes - 1}, the last of the "
            f"{classes} classes in the database; complete the database's list"
        )
    return replace(split, labels=split.labels[:, :classes].contiguous())
