"""`check-data`: whether a copy of a data set is whole and sound; without one, what to get, and where to put it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from benchmarks.commands import Command
from benchmarks.setting.options import Option, shared
from benchmarks.setting.overrides import PROTOCOL
from dpq.errors import InputError
from dpq.protocols import PROTOCOLS, load_protocol

log = logging.getLogger(__name__)

_IMAGENET = """{name}: 100 classes of ImageNet (Russakovsky et al. 2015) {draw}.
The images cannot be shipped. Put into one folder DIR:
  train/<wnid>/*.JPEG, val/*.JPEG              ILSVRC 2012 from image-net.org; the 100 classes are enough
  {folder}/train.txt, query.txt, database.txt
{source}
"""

GUIDES = {  # what to get of a protocol's data
    "nuswide21": """\
nuswide21: NUS-WIDE with its 21 most frequent concepts (Chua et al. 2009), 195,834 of 269,648 images.
The images cannot be shipped. Put into one folder DIR:
  Flickr/<folder>/<nnnn>_<photo id>.jpg        the images: see the official page ("NUS-WIDE", Lab for Media Search,
                                               National University of Singapore), or a copy that you hold
  nuswide21/train.txt, nuswide21/query.txt     the published lists: repository cfm-uestc/DPQ, folder data/nus21
  Groundtruth/AllLabels/Labels_*.txt           "Groundtruth" and "Image List" of the official page, from which the
  ImageList/Imagelist.txt                      database is made; or database.txt of data/nus21 in their place
Flickr deletes images, so no download is complete any more: see how many yours lacks before you use it.
""",
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
    PROTOCOL: """\
folder: images of your own, one folder FOLDER laid out in one of three ways (docs/own-data.md).
  FOLDER/<class>/<file>                        splits are drawn: of every class a tenth are queries, half train, and the
                                               others are the database
  FOLDER/{train,query,database}/<class>/<file>
  FOLDER/manifest.csv                          a header path,labels,split, and a line for every image: a path below
                                               FOLDER, labels separated by '|', and train, query or database
""",
}


def run(options: argparse.Namespace) -> None:
    """Read a copy from end to end, and say what it is fit for.

    Raises:
        InputError: no data root; the copy is not the published data, or not usable.
    """
    protocol, root = options.protocol, options.data_root
    if protocol not in GUIDES:  # its loader checks all there is to check
        dataset = load_protocol(protocol, root)
        splits = {"train": dataset.train, "query": dataset.query, "database": dataset.database}
        print(f"{dataset.name}: " + ", ".join(f"{len(split):,} {name}" for name, split in splits.items()))
        print(f"fingerprint: {dataset.fingerprint}\nfit: complete and readable")
        return
    if root is None:
        experiment = "own" if protocol == PROTOCOL else protocol
        print(
            f"{GUIDES[protocol]}Then (lists with absolute paths: --strip-prefix takes off another machine's folders):\n"
            f"  python -m benchmarks check-data {protocol} --data-root DIR\n"
            f"  python -m benchmarks run {experiment} --data-root DIR\n"
        )
        raise InputError("give --data-root DIR, the folder with your copy")
    from benchmarks.running.copies import SHOWN, check_copy, check_folder
    from benchmarks.running.environment import check_writable
    from dpq.files.atomic import write_atomically
    from dpq.protocols import ReadOptions

    report = options.report or Path(f"check-{protocol}.txt")
    check_writable(report.parent, "--report")
    reading = ReadOptions(strip_prefix=options.strip_prefix, workers=options.workers)
    findings = check_folder(root, reading) if protocol == PROTOCOL else check_copy(protocol, root, reading)
    print(findings.text(SHOWN))
    text = findings.text().encode(errors="backslashreplace")  # the folder's own name may be no UTF-8
    write_atomically(report, text, remedy="choose another --report")
    if not findings.fit:
        what = "cannot be used as it is" if protocol == PROTOCOL else f"is not the published {protocol}"
        raise InputError(f"{root} {what}; {report} names all of it")
    log.info("report: %s", report)


COMMAND = Command(
    "check-data",
    run,
    [
        Option("protocol", f"one of {', '.join(PROTOCOLS)}", "PROTOCOL"),
        *shared("--data-root", "--strip-prefix", "--workers"),
        Option("--report", "where everything is named (default: check-PROTOCOL.txt)", "FILE", Path),
    ],
    "nothing is kept; the same command reads the copy from the start",
    "read a copy of a data set from end to end, and say what it is fit for",
    "Count, open and decode every image of a copy; compare its lists and labels with the published ones; name what is "
    "missing, unreadable, repeated or shared by queries and training images. Without --data-root: what to get, and "
    "from where. The exit status is 2 unless the copy is the published data. folder: images of your own; the exit "
    "status is 2 unless all of them can be used.",
)
