"""What to get for a data set that cannot be shipped, from which official page, and where to put it."""

from __future__ import annotations

_NUSWIDE = """nuswide21: NUS-WIDE with its 21 most frequent concepts (Chua et al. 2009), 195,834 of 269,648 images.
The images cannot be shipped. Put into one folder DIR:
  Flickr/<folder>/<nnnn>_<photo id>.jpg    the images: see the official page ("NUS-WIDE", Lab for Media Search, National
                                           University of Singapore), or a copy that you hold
  train.txt, query.txt                     the published lists: repository cfm-uestc/DPQ, folder data/nus21
  Groundtruth/AllLabels/Labels_*.txt       "Groundtruth" and "Image List" of the official page, from which the database
  ImageList/Imagelist.txt                  is made; or database.txt of data/nus21 in their place
Flickr deletes images, so no download is complete any more: see how many yours lacks before you use it.
"""

_IMAGENET = """{name}: {draw}
The images cannot be shipped. Put into one folder DIR:
  train/<wnid>/*.JPEG, val/*.JPEG          ILSVRC 2012 from image-net.org (the folders of the 100 classes are enough)
  {lists:<40} the published lists: {source}
"""

GUIDES = {
    "nuswide21": _NUSWIDE,
    "imagenet100": _IMAGENET.format(
        name="imagenet100",
        draw="100 classes of ImageNet (Russakovsky et al. 2015) as DPQ drew them.",
        lists="train.txt, query.txt [, database.txt]",
        source="repository cfm-uestc/DPQ, folder data/imagenet",
    ),
    "imagenet100-hashnet": _IMAGENET.format(
        name="imagenet100-hashnet",
        draw="100 classes of ImageNet (Russakovsky et al. 2015) as HashNet drew them; 13 are DPQ's too.",
        lists="train.txt, query.txt, database.txt",
        source="repository thuml/HashNet, folder caffe/data/imagenet",
    ),
}


def guide(protocol: str) -> str:
    """The guide of a protocol, and the commands to go on with."""
    return (
        f"{GUIDES[protocol]}Then:\n  python -m benchmarks check-data {protocol} --data-root DIR\n"
        f"  python -m benchmarks run {protocol} --data-root DIR\n"
    )
