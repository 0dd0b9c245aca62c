import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from benchmarks.exhibits import store
from benchmarks.exhibits.exhibit import KINDS, Image, Orders
from benchmarks.exhibits.store import (
    check_run,
    exhibit_path,
    exhibits_of,
    read_exhibit,
    read_sprite,
    sprite_path,
    write_exhibit,
    write_sprite,
)
from benchmarks.records.store import as_record
from dpq import InputError
from dpq.files.schema import read_table
from dpq.protocols.archives import Bounds
from tests.benchmarks.conftest import make_record

HEADER = {"schema_version": 1, "run": "r", "created": "2026-01-01T00:00:00+00:00", "environment": {"threads": 2}}
EXHIBIT = HEADER | {
    "kind": "ties",
    "shuffle_seed": 0,
    "lengths": [{"bits": 8, "orders": {"reversed": 0.1 + 0.2}}],
}
PROJECTION = HEADER | {
    "kind": "projection",
    "method": "t-SNE",
    "perplexity": 1,
    "seed": 0,
    "sampled": 2,
    "classes": ["cat", "dog"],
    "labels": [0, 1],
    "lengths": [{"bits": 8, "points": [[0, 1.5], [1, -2]]}],
}
GALLERY = HEADER | {
    "kind": "gallery",
    "side": 2,
    "columns": 16,
    "classes": ["cat", "dog"],
    "images": [{"labels": [0]}] * 40,
    "queries": [{"image": 0, "lengths": [{"bits": 8, "nearest": [1, 39], "tied": 2}]}],
    "sprite": "r-gallery.png",
    "sprite_sha256": "0" * 64,
}


def typed(table):
    return read_table(KINDS[table["kind"]], table)


def test_an_exhibit_lies_beside_the_runs_and_comes_back_as_it_was(tmp_path):
    path = exhibit_path(tmp_path, "e", "r", "ties")
    assert path == tmp_path / "e/exhibits/r-ties.json"
    write_exhibit(path, typed(EXHIBIT))
    assert read_exhibit(path) == typed(EXHIBIT)
    assert json.loads(path.read_text()) == EXHIBIT
    assert path.read_text().count("\n") == len(EXHIBIT) + 2
    assert [file.name for file in path.parent.iterdir()] == ["r-ties.json"]


def test_numbers_that_are_not_finite_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_exhibit(tmp_path / "r-ties.json", replace(typed(EXHIBIT), lengths=(Orders(8, {"x": float("nan")}),)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", json.dumps(EXHIBIT | {"schema_version": 2}), json.dumps(EXHIBIT | {"kind": "other"})],
)
def test_what_is_no_exhibit_is_refused(tmp_path, content):
    path = tmp_path / "r-ties.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"r-ties\.json.*make it again with: python -m benchmarks exhibit"):
        read_exhibit(path)


def test_the_exhibits_of_a_part_come_by_name(tmp_path):
    assert exhibits_of(tmp_path, "e", "ties") == []
    for run in ("b", "a", "c"):
        write_exhibit(exhibit_path(tmp_path, "e", run, "ties"), typed(EXHIBIT | {"run": run}))
    write_exhibit(exhibit_path(tmp_path, "e", "d", "projection"), typed(PROJECTION | {"run": "d"}))
    assert [exhibit.run for exhibit in exhibits_of(tmp_path, "e", "ties")] == ["a", "b", "c"]
    assert [exhibit.run for exhibit in exhibits_of(tmp_path, "e", "projection")] == ["d"]


@pytest.fixture
def gallery(tmp_path):
    """Path of a gallery, the gallery, and its sprite's pixels."""
    path = tmp_path / "r-gallery.json"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 3)).astype(np.uint8)
    digest = write_sprite(sprite_path(path), pixels)
    return path, typed(GALLERY | {"sprite_sha256": digest}), pixels


def test_a_sprite_comes_back_as_it_was(gallery):
    path, exhibit, pixels = gallery
    again = read_sprite(path, exhibit)
    assert again.dtype == np.uint8
    assert np.array_equal(again, pixels)


def test_another_sprite_or_none_is_refused(gallery):
    path, exhibit, pixels = gallery
    Picture.fromarray(255 - pixels).save(path.with_suffix(".png"))
    with pytest.raises(InputError, match="is not the sprite"):
        read_sprite(path, exhibit)
    path.with_suffix(".png").unlink()
    with pytest.raises(InputError, match="cannot read the sprite"):
        read_sprite(path, exhibit)


@pytest.mark.parametrize(
    ("exhibit", "words"),
    [
        (EXHIBIT | {"lengths": []}, "lengths must have at least 1 item, not 0"),
        (
            EXHIBIT | {"lengths": [{"bits": 8, "orders": {"reversed": 1.5}}]},
            r"lengths\[0\].orders.reversed must be at most 1; got 1.5",
        ),
        (EXHIBIT | {"lengths": [*EXHIBIT["lengths"], {"bits": 16, "orders": {}}]}, r"lengths\[1\].orders must be of"),
        (EXHIBIT | {"run": "../r"}, "run must be a name"),
        (PROJECTION | {"labels": [0, 2]}, "labels must be below 2; got 2"),
        (PROJECTION | {"labels": [0, 1, 1]}, r"lengths\[0\].points must be 3 points; got 2"),
        (GALLERY | {"images": [{"labels": [2]}]}, r"images\[0\].labels must be below 2; got 2"),
        (GALLERY | {"images": [{"labels": [0]}]}, r"queries\[0\].lengths\[0\].nearest must be below 1; got 1"),
        (GALLERY | {"queries": [GALLERY["queries"][0] | {"image": 40}]}, r"queries\[0\].image must be below 40"),
        (
            GALLERY | {"queries": [*GALLERY["queries"], {"image": 0, "lengths": []}]},
            r"queries\[1\].lengths must have at least 1 item",
        ),
    ],
)
def test_an_exhibit_that_no_figure_can_be_made_of_names_the_place(tmp_path, exhibit, words):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(exhibit))
    with pytest.raises(InputError, match=f"is no usable exhibit: {words}"):
        read_exhibit(path)


def test_an_exhibit_of_other_lengths_than_its_record_is_refused():
    record, short = as_record(make_record()), as_record(make_record(bits=(8,), maps=(0.5,)))
    for exhibit in map(typed, (EXHIBIT, PROJECTION, GALLERY)):
        check_run(exhibit, short)
        with pytest.raises(InputError, match=r"of \[8\] bits, the record of \[8, 16\]"):
            check_run(exhibit, record)


def test_a_sprite_that_lies_elsewhere_is_not_opened(gallery, tmp_path):
    path, exhibit, pixels = gallery
    write_sprite(tmp_path / "other.png", pixels)
    with pytest.raises(InputError, match=r"names the sprite '\.\./.*other\.png'"):
        read_sprite(path, replace(exhibit, sprite=f"../{tmp_path.name}/other.png"))


def test_a_sprite_is_a_png_of_the_size_that_its_images_take(gallery):
    path, exhibit, pixels = gallery
    with pytest.raises(InputError, match="32x6 pixels, its images take 32x8"):
        read_sprite(path, replace(exhibit, images=(Image((0,)),) * 60))
    Picture.fromarray(pixels).save(path.with_suffix(".png"), format="bmp")
    digest = hashlib.sha256(path.with_suffix(".png").read_bytes()).hexdigest()
    with pytest.raises(InputError, match="cannot be used"):
        read_sprite(path, replace(exhibit, sprite_sha256=digest))


def test_a_sprite_without_end_is_not_read(gallery, monkeypatch):
    path, exhibit, _ = gallery
    monkeypatch.setattr(store, "DEFAULT_BOUNDS", Bounds(file=10))
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_sprite(path, exhibit)
