"""The command line of the library: `python -m dpq`, or `dpq`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpq.cli.interrupts import NOT_BEGUN, interruption
from dpq.cli.parser import Parser, natural, positive, status_of

EXAMPLES = """from a folder of photos to a searchable index:
  python -m dpq train photos --output model              photos holds a folder for each class
  python -m dpq index build model photos --output photos.index
  python -m dpq index search photos.index query.jpg --grid answers.png
  python -m dpq index add photos.index                   what is new in the folder
  python -m dpq index remove photos.index cat/1.jpg      take an image out
"""
# What settings that an error of the library is about are called here.
OPTIONS = {
    "allow_missing": "--allow-missing {}",
    "backbone": "--backbone TIMM_NAME",
    "device": "--device cpu",
    "epochs": "--epochs N",
    "image_size": "--image-size N",
    "output": "--output MODEL",
    "weights": "--weights FILE, or --weights none to start from scratch",
    "workers": "fewer --workers",
}
# How to go on after Ctrl-C.
ADVICE = {
    "train": "no model was written; the same command starts anew",
    "index": "the index is as it was, or as it should be; the same command does all of it",
}


def make_parser() -> Parser:
    """The parser with all sub-commands."""
    examples: Any = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    about = "Learn short codes of images, and search large folders by them."
    parser = Parser(prog="python -m dpq", description=about, **examples)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    index = commands.add_parser(
        "index",
        help="make an index of a folder of images, search it, change it (needs the extra 'search')",
        **examples,
    )
    actions = index.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_build(actions)
    _add_search(actions)
    _add_changes(actions)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a model on a folder of class folders",
        description="Train a network and the codebooks of its codes on FOLDER/<class>/<image>; where FOLDER says its "
        "splits, by {train,query,database}/<class>/<image> or by a manifest.csv, on those of train alone. One training "
        "gives codes of every length up to --bits. Without a GPU, a smaller --image-size and fewer --epochs save time.",
    )
    train.add_argument("folder", type=Path, metavar="FOLDER", help="images in one folder a class")
    train.add_argument("--output", type=Path, required=True, metavar="MODEL", help="folder to be made")
    train.add_argument("--backbone", metavar="TIMM_NAME", help="any timm model (default: mobilenetv2_100)")
    train.add_argument(
        "--weights",
        metavar="timm|none|FILE",
        help="what the network starts from: timm downloads timm's own (default), none is random",
    )
    train.add_argument("--bits", type=positive, metavar="B", help="longest code (default: 32)")
    train.add_argument(
        "--codebook-size",
        type=positive,
        metavar="K",
        help="codewords per level, at most as many as images (default: 256)",
    )
    train.add_argument("--embedding-dim", type=positive, metavar="D", help="at least the number of classes (300)")
    train.add_argument("--image-size", type=positive, metavar="N", help="side of the network input in pixels (224)")
    train.add_argument("--epochs", type=positive, metavar="N", help="passes over the images (14)")
    train.add_argument("--batch-size", type=positive, metavar="N", help="images a step (64)")
    train.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of weights, order, augmentation, codebooks (0)"
    )
    _add_allowance(train)
    _add_running(train)


def _add_build(actions: Any) -> None:
    build = actions.add_parser(
        "build",
        help="code all images of a folder",
        description="Code all images of FOLDER and its sub-folders into one file. It holds codes and names; images and "
        "model stay where they are, and are found from where the file lies.",
    )
    build.add_argument("model", type=Path, metavar="MODEL", help="folder that train made")
    build.add_argument("folder", type=Path, metavar="FOLDER", help="images, in whatever folders")
    build.add_argument("--output", type=Path, required=True, metavar="INDEX", help="file to be written")
    build.add_argument("--bits", type=positive, metavar="B", help="code length (default: the longest that was trained)")
    build.add_argument(
        "--score", default="inner", metavar="inner|l2", help="nearest by inner product (default) or by distance"
    )
    build.add_argument(
        "--lists",
        type=positive,
        default=0,
        metavar="C",
        help="divide the images into C lists, about the square root of their number, that search --probes chooses "
        "from; for hundreds of thousands of images",
    )
    _add_allowance(build)
    _add_running(build)


def _add_search(actions: Any) -> None:
    search = actions.add_parser(
        "search",
        help="find the images that are nearest to some",
        description="Print the nearest images of each IMAGE, with scores, larger is nearer. --grid draws them: each "
        "query at the left, the nearest beside it. Where class folders are indexed and the query lies in one of the "
        "same name, images of other classes have a frame with a cross.",
    )
    search.add_argument("index", type=Path, metavar="INDEX")
    search.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="a file; it need not be in the index")
    search.add_argument("--k", type=positive, default=10, metavar="N", help="answers to each (default: 10)")
    search.add_argument("--bits", type=positive, metavar="B", help="search by this much of the codes (default: all)")
    search.add_argument(
        "--probes", type=positive, metavar="P", help="of an index with lists, look at P of them (default: at all)"
    )
    search.add_argument("--grid", type=Path, metavar="FILE.png", help="draw queries and answers")
    _add_places(search)


def _add_changes(actions: Any) -> None:
    add = actions.add_parser(
        "add",
        help="append images",
        description="Code more images of the index's folder, and append them. The others keep their codes and ids.",
    )
    add.add_argument("index", type=Path, metavar="INDEX")
    add.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGE",
        help="files in the folder (default: all that are not in the index)",
    )
    _add_allowance(add)
    _add_places(add)
    remove = actions.add_parser(
        "remove", help="take images out", description="Take images out of the index. Their files are left alone."
    )
    remove.add_argument("index", type=Path, metavar="INDEX")
    remove.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="names as search prints them, or paths; files may be gone"
    )


def _add_places(parser: Any) -> None:
    parser.add_argument("--model", type=Path, metavar="MODEL", help="where the model is now, if it was moved")
    parser.add_argument(
        "--images-root", type=Path, metavar="FOLDER", help="where the images are now, if they were moved"
    )
    _add_running(parser)


def _add_allowance(parser: Any) -> None:
    about = "go on without up to N images that cannot be used, and name them (default: none may be missing)"
    parser.add_argument("--allow-missing", type=natural, default=0, metavar="N", help=about)


def _add_running(parser: Any) -> None:
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="auto takes a GPU if there is one")
    about = "processes that decode images (default: none beside this one)"
    parser.add_argument("--workers", type=natural, default=0, metavar="N", help=about)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 2 for a mistake of the caller, 130 when interrupted."""
    return status_of(lambda: _run(arguments), OPTIONS)


def _run(arguments: Sequence[str] | None) -> None:
    with interruption.interruptible(NOT_BEGUN):
        options = make_parser().parse_args(arguments)
    with interruption.interruptible(ADVICE[options.command]):
        from dpq.cli import commands  # takes seconds

        commands.run(options)


def console() -> int:
    """The program `dpq`: answers Ctrl-C from here on."""
    interruption.install()
    return main()


if __name__ == "__main__":
    sys.exit(console())
