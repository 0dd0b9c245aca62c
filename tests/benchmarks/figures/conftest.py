import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.exhibits.store import sprite_path
from benchmarks.figures.style import style
from benchmarks.records.store import write_record
from benchmarks.report.study import Study
from tests.benchmarks.made_up import made_up_identities

__all__ = ["made_up_identities"]

CLASSES = ["cat", "dog", "frog"]


@pytest.fixture(autouse=True)
def styled():
    with style("cifar10"):
        yield


@pytest.fixture
def put(tmp_path):
    """Write records of `cifar10`."""

    def write(*records):
        for record in records:
            write_record(tmp_path / "cifar10/runs" / f"{record['id']}.json", record)

    return write


@pytest.fixture
def material(put, tmp_path):
    """The first section of these records, read from files."""

    def make(*records):
        put(*records)
        return Study.read(tmp_path, "cifar10").sections[0]

    return make


@pytest.fixture
def exhibit(tmp_path):
    """Write an exhibit of a record."""

    def write(record, part, **content):
        path = tmp_path / "cifar10/exhibits" / f"{record['id']}-{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schema_version": 1, "kind": part, "run": record["id"]} | content))
        return path

    return write


@pytest.fixture
def put_ties(exhibit):
    def write(record, shift=0.0):
        lengths = [
            {"bits": entry["bits"], "orders": {"class-sorted": entry["map"] + 0.08 + shift, "shuffled": entry["map"]}}
            for entry in record["lengths"]
        ]
        return exhibit(record, "ties", shuffle_seed=0, lengths=lengths)

    return write


@pytest.fixture
def put_projection(exhibit):
    def write(record):
        lengths = [{"bits": bits, "points": [[0, bits], [1, 0], [2, 0], [3, 0]]} for bits in (8, 16)]
        made = {"method": "t-SNE", "perplexity": 1, "seed": 0, "sampled": 4}
        return exhibit(record, "projection", **made, classes=CLASSES, labels=[0, 1, 2, 0], lengths=lengths)

    return write


@pytest.fixture
def put_gallery(exhibit):
    """Image 0 is the query, 1 of its class, 2 of another, 3 of both; every tile has one grey."""

    def write(record):
        tiles = np.repeat(np.array([10, 20, 30, 40], dtype=np.uint8), 3).reshape(4, 1, 1, 3)
        sprite = np.broadcast_to(tiles, (4, 8, 8, 3)).reshape(2, 2, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, 16, 3)
        path = exhibit(
            record,
            "gallery",
            side=8,
            columns=2,
            sprite=f"{record['id']}-gallery.png",
            sprite_sha256="",
            classes=CLASSES,
            images=[{"labels": [0]}, {"labels": [0]}, {"labels": [1]}, {"labels": [0, 1]}],
            queries=[
                {
                    "image": 0,
                    "lengths": [
                        {"bits": 8, "nearest": [2, 1, 3], "tied": 1234},
                        {"bits": 16, "nearest": [1, 3, 2], "tied": 1},
                    ],
                }
            ],
        )
        Image.fromarray(sprite).save(sprite_path(path))
        content = json.loads(path.read_text())
        content["sprite_sha256"] = hashlib.sha256((sprite_path(path)).read_bytes()).hexdigest()
        path.write_text(json.dumps(content))
        return path

    return write


def curve(axes, title):
    """The error-bar curve or line with this title: x, y and, where there are bars, their ends [N, 2]."""
    for container in axes.containers:
        if container.get_label() == title:
            line, _, bars = container.lines
            ends = np.array([segment[:, 1] for segment in bars[0].get_segments()]) if bars else None
            return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float), ends
    (line,) = [line for line in axes.lines if line.get_label() == title]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float), None


def class_split(record, split):
    """The record as one of a class split."""
    own = {"fingerprint": f"{split:064}", "fingerprint_of_all": "a" * 64, "seen": [], "unseen": [CLASSES[split]]}
    changed = {"id": f"{record['id']}-split{split}", "data": record["data"] | own}
    return record | changed | {"config": record["config"] | {"split_seed": split}}
