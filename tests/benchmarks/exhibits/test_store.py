import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.exhibits.store import (
    exhibit_path,
    exhibits_of,
    read_exhibit,
    read_sprite,
    sprite_path,
    write_exhibit,
    write_sprite,
)
from dpq import InputError

EXHIBIT = {"schema_version": 1, "kind": "ties", "run": "r", "lengths": [{"bits": 8, "orders": {"reversed": 0.1 + 0.2}}]}


def test_an_exhibit_lies_beside_the_runs_and_comes_back_as_it_was(tmp_path):
    path = exhibit_path(tmp_path, "e", "r", "ties")
    assert path == tmp_path / "e/exhibits/r-ties.json"
    write_exhibit(path, EXHIBIT)
    assert read_exhibit(path) == EXHIBIT
    assert path.read_text().count("\n") == len(EXHIBIT) + 2
    assert [file.name for file in path.parent.iterdir()] == ["r-ties.json"]


def test_numbers_that_are_not_finite_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_exhibit(tmp_path / "r-ties.json", EXHIBIT | {"x": [float("nan")]})
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
        write_exhibit(exhibit_path(tmp_path, "e", run, "ties"), EXHIBIT | {"run": run})
    write_exhibit(exhibit_path(tmp_path, "e", "d", "gallery"), EXHIBIT | {"run": "d", "kind": "gallery"})
    assert [exhibit["run"] for exhibit in exhibits_of(tmp_path, "e", "ties")] == ["a", "b", "c"]
    assert [exhibit["run"] for exhibit in exhibits_of(tmp_path, "e", "gallery")] == ["d"]


@pytest.fixture
def gallery(tmp_path):
    """Path of a gallery, the gallery, and its sprite's pixels."""
    path = tmp_path / "r-gallery.json"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 3)).astype(np.uint8)
    digest = write_sprite(sprite_path(path), pixels)
    return path, {"sprite": "r-gallery.png", "sprite_sha256": digest}, pixels


def test_a_sprite_comes_back_as_it_was(gallery):
    path, exhibit, pixels = gallery
    again = read_sprite(path, exhibit)
    assert again.dtype == np.uint8
    assert np.array_equal(again, pixels)


def test_another_sprite_or_none_is_refused(gallery):
    path, exhibit, pixels = gallery
    Image.fromarray(255 - pixels).save(path.with_suffix(".png"))
    with pytest.raises(InputError, match="is not the sprite"):
        read_sprite(path, exhibit)
    path.with_suffix(".png").unlink()
    with pytest.raises(InputError, match="cannot read the sprite"):
        read_sprite(path, exhibit)
