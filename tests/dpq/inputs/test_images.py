import numpy as np
import pytest
import torch
from PIL import Image

from dpq import InputError
from dpq.inputs.images import batches, list_images, square_images

GREY = np.zeros((4, 5), np.uint8)


def first(images, side=4):
    return next(iter(square_images(images, side)))


def test_images_are_resized_upright_and_rgb():
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, :4] = (255, 0, 0)
    image = Image.fromarray(wide)
    exif = image.getexif()
    exif[0x0112] = 3  # turned by half
    image.info["exif"] = exif.tobytes()
    turned = first([image])
    assert turned.shape == (3, 4, 4)
    assert turned[0, :, 3].tolist() == [255] * 4 and turned[0, :, 0].tolist() == [0] * 4
    assert image.size == (8, 4)
    assert np.asarray(image)[0, 0].tolist() == [255, 0, 0]  # the caller's image is as it was


def test_files_of_a_folder_are_listed_in_order(tmp_path):
    for name in ("b/2.png", "a/10.JPG", "c.bmp", ".hidden/x.png", "a/.x.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(GREY).save(path)
    (tmp_path / "a/readme.txt").write_text("")
    (tmp_path / "d.png").mkdir()
    listed = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert listed == ["a/10.JPG", "b/2.png", "c.bmp"]


def test_batches_of_a_stream():
    sizes = [len(batch) for batch in batches((np.full((3, 2, 2), i, np.uint8) for i in range(5)), 2)]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (np.zeros((2, 4, 4, 3)), "images must be uint8, from 0 to 255; got float64"),
        (torch.zeros(2, 3, 4, 4), "images must be uint8, from 0 to 255; got torch.float32"),
        ([torch.zeros(3, 4, 4)], "image 0 must be uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"arrays of images are \[N, H, W, 3\] or \[N, H, W\]; got \[2, 3, 4, 4\]"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), r"tensors of images are .* got \[2, 4, 4, 3\]"),
        (np.zeros((4, 4, 3), np.uint8), "may be one image in colour or several in grey"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "may be one image in colour or several in grey"),
        ([GREY, np.zeros((4, 4, 4), np.uint8)], r"image 1 is \[4, 4, 4\]; expected \[H, W, 3\]"),
        ([np.zeros((0, 4), np.uint8)], r"image 0 is \[0, 4\]"),
        ([GREY, 7], "image 1 is a int; give a folder"),
        (7, "images cannot be read from a int"),
        ("nowhere.png", "image nowhere.png cannot be used: missing"),
        (["nowhere.png"], "image nowhere.png cannot be used: missing"),
    ],
)
def test_what_is_no_image_is_refused(images, why):
    with pytest.raises(InputError, match=why) as refusal:
        list(square_images(images, 4))
    assert "\n" not in str(refusal.value)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"a\.png cannot be used: no image of the formats"):
            list(square_images(tmp_path, 4, workers))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:2000])
    with Image.open(tmp_path / "b.png") as opened, pytest.raises(InputError, match="image 0 cannot be used"):
        list(square_images([opened], 4))


def test_a_folder_without_images(tmp_path):
    with pytest.raises(InputError, match="no image in"):
        list(square_images(tmp_path, 4))
    with pytest.raises(InputError, match="no image folder"):
        list_images(tmp_path / "gone")
