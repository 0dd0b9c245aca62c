"""What to get for a data set that cannot be shipped, from which official page, and where to put it."""

from __future__ import annotations

_NUSWIDE = """nuswide21: NUS-WIDE with its 21 most frequent concepts (Chua et al. 2009), 195,834 of 269,648 images.
The images cannot be shipped. Put into one folder DIR:
  Flickr/<folder>/<nnnn>_<photo id>.jpg        the images: see the official page ("NUS-WIDE", Lab for Media Search,
                                               National University of Singapore), or a copy that you hold
  nuswide21/train.txt, nuswide21/query.txt     the published lists: repository cfm-uestc/DPQ, folder data/nus21
  Groundtruth/AllLabels/Labels_*.txt           "Groundtruth" and "Image List" of the official page, from which the
  ImageList/Imagelist.txt                      database is made; or database.txt of data/nus21 in their place
Flickr deletes images, so no download is complete any more: see how many yours lacks before you use it.
"""

_IMAGENET = """{name}: 100 classes of ImageNet (Russakovsky et al. 2015) {draw}.
The images cannot be shipped. Put into one folder DIR:
  train/<wnid>/*.JPEG, val/*.JPEG              ILSVRC 2012 from image-net.org; the 100 classes are enough
  {folder}/train.txt, query.txt, database.txt
{source}
"""

_FOLDER = """folder: images of your own, one folder FOLDER laid out in one of three ways (docs/own-data.md).
  FOLDER/<class>/<file>                        splits are drawn: of every class a tenth are queries, half train, and the
                                               others are the database
  FOLDER/{train,query,database}/<class>/<file>
  FOLDER/manifest.csv                          a header path,labels,split, and a line for every image: a path below
                                               FOLDER, labels separated by '|', and train, query or database
"""

GUIDES = {
    "nuswide21": _NUSWIDE,
    "imagenet100": _IMAGENET.format(
        name="imagenet100",
        draw="as DPQ drew them",
        folder="imagenet100",
        source="""    the published lists: repository cfm-uestc/DPQ, folder data/imagenet. Without database.txt the
    database is all that the training folders of the 100 classes hold""",
    ),
    "imagenet100-hashnet": _IMAGENET.format(
        name="imagenet100-hashnet",
        draw="as HashNet drew them (13 are DPQ's too)",
        folder="imagenet100_hashnet",
        source="""    the published lists: repository thuml/HashNet, folder caffe/data/imagenet: train.txt;
    test/test0.txt to test7.txt joined to query.txt, test/database0.txt to database7.txt joined to database.txt""",
    ),
    "folder": _FOLDER,
}
_EXPERIMENTS = {"folder": "own"}  # where the name is another one


def guide(protocol: str) -> str:
    """The guide of a protocol, and the commands to go on with."""
    return (
        f"{GUIDES[protocol]}Then (lists with absolute paths: --strip-prefix takes off another machine's folders):\n"
        f"  python -m benchmarks check-data {protocol} --data-root DIR\n"
        f"  python -m benchmarks run {_EXPERIMENTS.get(protocol, protocol)} --data-root DIR\n"
    )
