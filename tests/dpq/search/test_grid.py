import io

import numpy as np
import pytest
from PIL import Image

from dpq.search.grid import BETWEEN, CAPTION, GAP, TILE, Picture, picture_grid


@pytest.fixture
def files(tmp_path):
    found = {}
    for name, colour, size in (("red", (255, 0, 0), (8, 8)), ("blue", (0, 0, 255), (400, 100))):
        found[name] = tmp_path / f"{name}.png"
        Image.new("RGB", size, colour).save(found[name])
    return found


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def middle(grid, row, column):
    left = GAP + column * (TILE + GAP) + (BETWEEN if column else 0)
    top = GAP + row * (TILE + CAPTION + GAP)
    return grid[top + TILE // 2, left + TILE // 2].tolist()


def test_each_query_is_at_the_left_of_its_answers(files):
    red, blue = Picture(files["red"]), Picture(files["blue"])
    grid = pixels(picture_grid([(red, [blue, red]), (blue, [red])]))
    assert grid.shape == (2 * (TILE + CAPTION + GAP) + GAP, 3 * (TILE + GAP) + GAP + BETWEEN, 3)
    colours = [[middle(grid, row, column) for column in range(3)] for row in range(2)]
    r, b, paper = [255, 0, 0], [0, 0, 255], [255, 255, 255]
    assert colours == [[r, b, r], [b, r, paper]]


def test_images_keep_their_proportion(files):
    grid = pixels(picture_grid([(Picture(files["blue"]), [])]))
    assert (grid == [0, 0, 255]).all(axis=2).sum() == TILE * TILE // 4


def test_a_wrong_answer_is_framed(files):
    right, wrong = (
        pixels(picture_grid([(Picture(files["red"]), [Picture(files["red"], wrong=w)])])) for w in (False, True)
    )
    changed = (right != wrong).any(axis=2)
    left = GAP + BETWEEN + TILE + GAP
    assert changed.any() and not changed[:, : left - 2].any()
    assert changed[GAP, left : left + TILE].all()


def test_captions_of_any_length_and_script_stay_below_their_picture(files):
    plain, long = (
        pixels(picture_grid([(Picture(files["red"], text), [Picture(files["red"])])]))
        for text in ("", "ein Bär 熊 " * 40)
    )
    changed = np.argwhere((plain != long).any(axis=2))
    assert len(changed) and changed[:, 0].min() >= GAP + TILE and changed[:, 1].max() <= GAP + TILE


def test_a_file_that_cannot_be_read_is_grey(files, tmp_path):
    (tmp_path / "spoiled.png").write_bytes(b"no image")
    answers = [Picture(tmp_path / "spoiled.png"), Picture(tmp_path / "gone.png")]
    grid = pixels(picture_grid([(Picture(files["red"]), answers)]))
    assert middle(grid, 0, 1) == middle(grid, 0, 2) == [0xDD] * 3
