"""NUS-WIDE with its 21 most frequent concepts: which images belong to DPQ's splits."""

from __future__ import annotations

from pathlib import Path

from dpq.errors import InputError
from dpq.protocols.label_forms import bits
from dpq.protocols.list_folder import find_lists
from dpq.protocols.listing import Listing, Published
from dpq.protocols.lists import read_list
from dpq.protocols.nuswide_truth import find_ground_truth

# The published lists do not name their columns; this order fits their counts and co-occurrences.
CONCEPTS = (
    *("sky", "clouds", "person", "water", "animal", "grass", "buildings", "window", "plants", "lake", "ocean"),
    *("road", "flowers", "sunset", "reflection", "rocks", "vehicle", "snow", "tree", "beach", "mountain"),
)
PUBLISHED = Published(
    sizes={"train": 10_000, "query": 5_000, "database": 190_834},
    labels_per_image={"train": 2.11, "query": 2.15},
    per_class={},
    digests={
        "train": "b2fc7f4ca130305eb8d0d3c2af12b29e21ad2247643119da4c9cecc254725148",
        "query": "96a45df8d5d158e5e2ff912b2e8ecf62a11c80265f3ed912a2c0401c3d865441",
    },
)
_NAME = "nuswide21"
_LISTS = "they are data/nus21 of the repository cfm-uestc/DPQ"
_TRUTH = 'Groundtruth/ and ImageList/ of the page "NUS-WIDE, Lab for Media Search, National University of Singapore"'


def list_nuswide21(root: Path, *, strip_prefix: str | None = None) -> Listing:
    """The training images and queries that DPQ published, and their database (Gao et al. 2019, released lists).

    Without a list of the database it is every image of NUS-WIDE's ground truth that has one of the 21 concepts
    and is no query. With the ground truth at hand, it also names the columns of the lists.

    Args:
        root: folder with `Flickr/`; the lists and the ground truth are in it or in its `nuswide21/`.
        strip_prefix: folder that all listed paths start with and that is cut off.

    Returns:
        The images; mAP is cut at 5000.

    Raises:
        InputError: lists or ground truth are missing, damaged, or do not belong together.
    """
    lists = find_lists(root, _NAME, _LISTS)
    form = bits(len(CONCEPTS))
    train = read_list(lists.train, form, strip_prefix=strip_prefix)
    query = read_list(lists.query, form, strip_prefix=strip_prefix)
    truth = find_ground_truth((root / _NAME, root), CONCEPTS)
    if truth is not None:
        truth = truth.ordered_as(train, query)
    if lists.database is not None:
        database = read_list(lists.database, form, strip_prefix=strip_prefix)
    elif truth is not None:
        database = truth.labelled(without=query.paths)
    else:
        raise InputError(
            f"no database of {_NAME} in {root}: put {_TRUTH} into {root}, or database.txt into {lists.path}; {_LISTS}"
        )
    classes = CONCEPTS if truth is None else truth.concepts
    return Listing(_NAME, classes, train, query, database, PUBLISHED, cut=5000)
