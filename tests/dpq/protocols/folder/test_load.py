"""Folders of one's own images: layouts, draws, refusals."""

import os
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from dpq import InputError
from dpq.protocols import ReadOptions, load_protocol
from dpq.protocols.folder.load import find_images
from tests.dpq.protocols.gallery import encoded, photo, reference, write_files
from tests.dpq.protocols.own_images import write_classes, write_manifest, write_splits

SIDE = 16
SPLITS = ("train", "query", "database")
SOUND = ("a.jpg,ant,train", "b.jpg,bee,train", "c.jpg,ant,query", "d.jpg,bee,database")


@pytest.fixture
def load(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")  # outside the images

    def start(root, seed=0, **options):
        return load_protocol("folder", root, cache, ReadOptions(SIDE, workers=0, **options), seed)

    return start


@pytest.fixture
def refusal(load):
    def start(root, **options):
        with pytest.raises(InputError) as error:
            load(root, **options)
        return str(error.value)

    return start


def rows_of(split):
    """Each image's pixels and labels, in order."""
    return [
        (image.numpy().tobytes(), tuple(row)) for image, row in zip(split.images[:], split.labels.tolist(), strict=True)
    ]


def contents(dataset):
    return {name: rows_of(getattr(dataset, name)) for name in SPLITS}


# --- class folders -------------------------------------------------------------------------------------------


def test_class_folders_are_drawn_class_by_class(tmp_path, load):
    root = write_classes(tmp_path / "photos", each=25)
    dataset = load(root)
    assert dataset.classes == ("ant", "bee", "cow")
    for name, each in {"query": 2, "train": 12, "database": 11}.items():
        assert getattr(dataset, name).labels.sum(dim=0).tolist() == [each] * 3
    expected = {
        (reference(path.read_bytes(), SIDE).tobytes(), tuple(path.parent.name == name for name in dataset.classes))
        for path in root.glob("*/*.jpg")
    }
    drawn = [row for rows in contents(dataset).values() for row in rows]
    assert len(drawn) == len(set(drawn)) == 75
    assert set(drawn) == expected
    assert (dataset.protocol, dataset.name, dataset.cut, dataset.denominator) == ("folder", "photos", None, "hits")
    assert dataset.facts == {
        "layout": "classes",
        "classes": ["ant", "bee", "cow"],
        "copies_left_out": 0,
        "queries_in_database": 0,
        "missing": {"images": 0},
        "side": SIDE,
    }


def test_no_split_is_sorted_by_class(tmp_path, load):
    dataset = load(write_classes(tmp_path / "photos"))
    assert (dataset.train.labels[1:] != dataset.train.labels[:-1]).any(dim=1).sum() > 4  # sorted ones change twice


def test_neither_names_nor_times_nor_the_file_system_decide_the_draw(tmp_path, load, monkeypatch):
    root = write_classes(tmp_path / "photos")
    first = load(root)
    for number, path in enumerate(sorted(root.glob("*/*.jpg"), key=lambda path: path.read_bytes())):
        path.rename(path.parent / f"renamed {number}.JPEG")
    for path in root.glob("*/*"):
        os.utime(path, (10**9, 10**9))
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            self.listing = scandir(path)

        def __enter__(self):
            return reversed(list(self.listing))

        def __exit__(self, *_):
            self.listing.close()

    monkeypatch.setattr("dpq.protocols.image_files.os.scandir", Reversed)
    second = load(root.rename(tmp_path / "elsewhere"))
    assert contents(second) == contents(first)
    assert second.fingerprint == first.fingerprint
    assert second.name == "elsewhere"


def test_another_seed_draws_others_and_other_labels_are_other_data(tmp_path, load):
    root = write_classes(tmp_path / "photos")
    first, other = load(root), load(root, seed=1)
    assert set(rows_of(first.query)) != set(rows_of(other.query))
    assert first.fingerprint != other.fingerprint
    (root / "ant").rename(root / "aphid")
    assert load(root).fingerprint != first.fingerprint


def test_the_smallest_class_has_one_image_in_every_split(tmp_path, load):
    dataset = load(write_classes(tmp_path, ("ant", "bee"), each=3))
    assert [len(getattr(dataset, name)) for name in SPLITS] == [2, 2, 2]


def test_classes_that_are_too_small_are_named(tmp_path, refusal):
    write_classes(tmp_path)
    for path in sorted(tmp_path.glob("cow/*.jpg"))[2:]:
        path.unlink()
    assert "has classes of fewer than 3 different images: 'cow (2)'; mend it" in refusal(tmp_path)


def test_copies_in_a_class_count_once(tmp_path, load, caplog):
    root = write_classes(tmp_path / "photos", each=10)
    for i in range(5):
        write_files(root, {f"ant/copy {i}.jpg": (root / f"ant/{i:02d}.jpg").read_bytes()})
    dataset = load(root)
    assert sum(len(rows) for rows in contents(dataset).values()) == 30
    assert dataset.facts["copies_left_out"] == 5
    assert (
        "left out as copies of others: 'ant/copy 0.jpg', 'ant/copy 1.jpg', 'ant/copy 2.jpg' and 2 more" in caplog.text
    )


def test_one_image_in_two_classes_is_refused(tmp_path, refusal):
    root = write_classes(tmp_path)
    write_files(root, {"bee/same.jpg": (root / "ant/00.jpg").read_bytes()})
    assert "images with the content of an image of another class: 'bee/same.jpg = ant/00.jpg'" in refusal(root)


def test_hidden_files_are_ignored_and_others_named(tmp_path, load, caplog):
    root = write_classes(tmp_path)
    before = load(root)
    assert "passed over" not in caplog.text
    junk = {"ant/.DS_Store": b"", ".git/x/a.jpg": b"", ".hidden.jpg": b""}
    write_files(root, junk | {"ant/notes.txt": b"", "bee/live.HEIC": b"", "top.jpg": b"no image"})
    dataset = load(root)
    assert contents(dataset) == contents(before)
    assert "no images and passed over: 'ant/notes.txt', 'bee/live.HEIC', 'top.jpg'\n" in caplog.text


def test_endings_in_capitals_and_other_formats_are_images(tmp_path, load):
    files = {
        f"{name}/{i}.{end}": (name, i, end) for name in "ab" for i, end in enumerate(("JPG", "Png", "webp", "TIF"))
    }
    formats = {"JPG": "JPEG", "Png": "PNG", "webp": "WEBP", "TIF": "TIFF"}
    write_files(
        tmp_path,
        {path: encoded(photo(ord(name) * 10 + i), formats[end]) for path, (name, i, end) in files.items()},
    )
    assert sum(len(rows) for rows in contents(load(tmp_path)).values()) == 8


def test_photos_are_turned_upright(tmp_path, load):
    root = write_classes(tmp_path, ("ant", "bee"), each=4)
    lying = photo(7, 12, 18)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    write_files(root, {"ant/camera.png": encoded(lying, "PNG", exif=exif)})
    upright = lying.rotate(-90, expand=True).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    expected = np.asarray(upright).transpose(2, 0, 1).tobytes()
    assert expected in {row[0] for rows in contents(load(root)).values() for row in rows}


def test_names_of_any_script_and_blank(tmp_path, load):
    decomposed = unicodedata.normalize("NFD", "Bär")
    root = write_classes(tmp_path / "Meine Fotos, 2024 (süß)", (decomposed, "猫", "with blank"), each=3)
    narrow = "猫/Screenshot 3.15.00\u202fPM.png"
    write_files(root, {narrow: encoded(photo(77), "PNG")})
    dataset = load(root)
    assert dataset.classes == tuple(sorted([unicodedata.normalize("NFC", "Bär"), "猫", "with blank"]))
    assert dataset.name == "Meine-Fotos-2024-süß"
    assert narrow in find_images(root, ReadOptions()).files


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode there")
@pytest.mark.parametrize("name", [b"ant/\xff.jpg", b"ant/a\nb.jpg", b"\xff/a.jpg"])
def test_names_that_are_no_utf8_or_have_line_ends_are_refused(tmp_path, refusal, name):
    root = write_classes(tmp_path)
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(encoded(photo(1)))
    assert "is no name in UTF-8; rename it" in refusal(root)


@pytest.mark.parametrize("empty", ["none", "files", "only hidden"])
def test_folders_without_class_folders_are_refused(tmp_path, refusal, empty):
    if empty != "none":
        write_files(tmp_path, {"a.jpg" if empty == "files" else ".ant/a.jpg": encoded(photo(1))})
    message = refusal(tmp_path)
    assert "holds no class folders with images; lay it out as <class>/<file>, or {train,query,database}/" in message


def test_empty_and_nested_classes_are_refused(tmp_path, refusal):
    root = write_classes(tmp_path)
    write_files(root, {"dog/readme.txt": b""})
    assert "the class folder 'dog' in" in refusal(root)
    write_files(root, {"eel/a.gif": encoded(photo(1), "GIF")})
    (root / "fox").mkdir()
    assert "the class folders 'dog', 'eel', 'fox' in" in refusal(root)
    write_files(root, {"bee/2024/a.jpg": encoded(photo(1))})
    assert "bee/2024 in" in (message := refusal(root))
    assert "is a folder inside a class" in message


def test_one_class_is_none(tmp_path, refusal):
    assert "has one class where two or more are needed: 'ant'" in refusal(write_classes(tmp_path, ("ant",)))


def test_no_folder(tmp_path, refusal):
    assert "no image folder" in refusal(tmp_path / "nowhere")
    assert "give their folder as data root, laid out as <class>/<file>" in refusal(None)


def test_unreadable_images_are_refused_unless_they_are_allowed(tmp_path, refusal, load):
    root = write_classes(tmp_path)
    write_files(root, {"ant/broken.jpg": encoded(photo(1))[:200]})
    assert "1 of 61 images" in (message := refusal(root))
    assert "'ant/broken.jpg' (unreadable" in message
    dataset = load(root, allow_missing=1)
    assert sum(len(rows) for rows in contents(dataset).values()) == 60
    assert dataset.facts["missing"] == {"images": 1}


# --- links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["ant/link.jpg", "dog"])
def test_links_that_lead_out_are_followed(tmp_path, load, link):
    root = write_classes(tmp_path / "photos")
    other = write_files(tmp_path / "elsewhere", {f"{i}.jpg": encoded(photo(i)) for i in range(3)})
    (root / link).symlink_to(other / "1.jpg" if link.endswith("jpg") else other)
    assert sum(len(rows) for rows in contents(load(root)).values()) == (61 if link.endswith("jpg") else 63)


@pytest.mark.parametrize(("link", "to"), [("dog", "nowhere"), ("dog", "dog"), ("ant/more", "nowhere")])
def test_links_that_lead_nowhere_are_refused(tmp_path, refusal, link, to):
    root = write_classes(tmp_path / "photos")
    (root / link).symlink_to(to)
    assert f"the link {root / link} " in (message := refusal(root))
    assert message.endswith("; mend it or take it away")


def test_a_link_to_nowhere_that_is_named_like_an_image_is_a_missing_one(tmp_path, refusal, load):
    root = write_classes(tmp_path / "photos")
    (root / "ant/a.jpg").symlink_to("nowhere")
    assert "1 of 61 images" in (message := refusal(root))
    assert "'ant/a.jpg' (missing)" in message
    assert load(root, allow_missing=1).facts["missing"] == {"images": 1}


def test_links_within_the_folder_and_to_it_are_followed(tmp_path, load):
    root = write_classes(tmp_path / "photos", each=3)
    write_files(root, {".shelf/a.jpg": encoded(photo(1))})
    (root / "ant/link.jpg").symlink_to("../.shelf/a.jpg")
    (tmp_path / "link").symlink_to(root)
    dataset = load(tmp_path / "link")
    assert sum(len(rows) for rows in contents(dataset).values()) == 10


# --- folders of splits ---------------------------------------------------------------------------------------


def test_folders_of_splits_are_these_splits(tmp_path, load):
    root = write_splits(tmp_path)
    dataset = load(root)
    for name in SPLITS:
        expected = {
            (reference(path.read_bytes(), SIDE).tobytes(), (path.parent.name == "ant", path.parent.name == "bee"))
            for path in root.glob(f"{name}/*/*.jpg")
        }
        assert set(contents(dataset)[name]) == expected
    assert dataset.facts["layout"] == "splits"


def test_two_of_three_splits_are_no_layout(tmp_path, refusal):
    root = write_splits(tmp_path)
    (root / "database").rename(tmp_path / "test")
    assert "query/ant in" in (message := refusal(root))
    assert "{train,query,database}/<class>/<file>" in message


def test_given_splits_have_no_seed(tmp_path, refusal):
    assert "its split seed is 0, got 1" in refusal(write_splits(tmp_path), seed=1)


@pytest.mark.parametrize("other", ["train", "database"])
def test_queries_with_a_copy_elsewhere_are_refused(tmp_path, refusal, other):
    root = write_splits(tmp_path)
    write_files(root, {f"{other}/bee/copy.jpg": (root / "query/bee/0.jpg").read_bytes()})
    message = refusal(root)
    assert f"queries with the content of an image of another split: 'query/bee/0.jpg = {other}/bee/copy.jpg'" in message


def test_training_images_may_have_a_copy_in_the_database(tmp_path, load):
    root = write_splits(tmp_path)
    write_files(root, {"database/bee/copy.jpg": (root / "train/bee/0.jpg").read_bytes()})
    assert len(load(root).database) == 5


def test_labels_that_nothing_is_trained_on_are_refused(tmp_path, refusal):
    root = write_splits(tmp_path)
    write_files(root, {"query/cow/a.jpg": encoded(photo(999))})
    assert "has labels of no training image: 'cow'" in refusal(root)


# --- manifest ------------------------------------------------------------------------------------------------


def test_a_manifest_says_paths_labels_and_splits(tmp_path, load):
    root = write_manifest(
        tmp_path,
        "# a comment",
        "1,deep/er/a.JPG,ant,train",
        "",
        '2,"b, with comma.png",bee|ant,train',
        "3,./c.jpg,ant; bee ;ant,query",
        "4,猫.jpg,bee,database",
        "5,e\u202fe.jpg,ant,train|database",
        header="\ufeffnumber,Path, labels ,SPLIT",
    )
    names = ("deep/er/a.JPG", "b, with comma.png", "c.jpg", "猫.jpg", "e\u202fe.jpg")
    pixels = {}
    for number, name in enumerate(names):
        write_files(root, {name: encoded(photo(number))})
        pixels[name] = reference((root / name).read_bytes(), SIDE).tobytes()
    dataset = load(root)
    assert dataset.classes == ("ant", "bee")
    assert set(rows_of(dataset.train)) == {
        (pixels["deep/er/a.JPG"], (True, False)),
        (pixels["b, with comma.png"], (True, True)),
        (pixels["e\u202fe.jpg"], (True, False)),
    }
    assert rows_of(dataset.query) == [(pixels["c.jpg"], (True, True))]
    assert set(rows_of(dataset.database)) == {
        (pixels["猫.jpg"], (False, True)),
        (pixels["e\u202fe.jpg"], (True, False)),
    }
    assert dataset.facts["layout"] == "manifest"


def test_the_order_of_lines_decides_nothing(tmp_path, load):
    first = load(write_manifest(tmp_path, *SOUND))
    again = load(write_manifest(tmp_path, *SOUND[::-1]))
    assert contents(again) == contents(first)
    assert again.fingerprint == first.fingerprint


def test_queries_are_in_the_database_only_where_that_is_said(tmp_path, load):
    assert len(load(write_manifest(tmp_path, *SOUND)).database) == 1
    dataset = load(write_manifest(tmp_path, *SOUND[:2], "c.jpg,ant,query|database", SOUND[3]))
    assert set(rows_of(dataset.query)) < set(rows_of(dataset.database))
    assert dataset.facts["queries_in_database"] == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("../x.jpg,ant,train", "path '../x.jpg' names no file below the data root"),
        ("sub/../../x.jpg,ant,train", "names no file below the data root"),
        ("/etc/x.jpg,ant,train", "path '/etc/x.jpg' is absolute"),
        ("C:\\x.jpg,ant,train", "is absolute"),
        (",ant,train", "path '' names no file"),
        ("x.jpg,,train", "'x.jpg' has no label; write at least one"),
        ("x.jpg, | ;,train", "'x.jpg' has no label"),
        ("x.jpg,a\x07nt,train", "holds a control character"),
        ("x.jpg,ant,test", "split 'test' is none of train, query, database"),
        ("x.jpg,ant,", "split '' is none of"),
        ("x.jpg,ant,train|query", "a training image cannot be a query"),
        ("x.jpg,ant", "has 2 columns, the header 3"),
        ("x.jpg,ant,train,more", "has 4 columns, the header 3"),
        ('"x.jpg,ant,train', "mend its quotation marks"),
        ("# a comment, with a comma", "has 2 columns, the header 3"),
        ("a.jpg,ant,database", "'a.jpg' is listed in line 2 already"),
        ("./a.jpg,ant,database", "'a.jpg' is listed in line 2 already"),
    ],
)
def test_faults_of_a_line_are_named(tmp_path, refusal, line, reason):
    write_manifest(tmp_path, *SOUND)
    (tmp_path / "manifest.csv").write_text("\n".join(["path,labels,split", *SOUND, line]) + "\n")
    message = refusal(tmp_path)
    assert f"{tmp_path / 'manifest.csv'}: line 6: " in message
    assert reason in message


def test_at_most_three_faults_are_named(tmp_path, refusal):
    message = refusal(write_manifest(tmp_path, *SOUND, *["x.jpg,ant,test"] * 5))
    assert message.count("line ") == 3
    assert message.endswith("; and 2 more lines")


@pytest.mark.parametrize(
    "header", ["path;labels;split", "file,labels,split", "path,labels,split,split", 'path,"labels']
)
def test_other_headers_are_refused(tmp_path, refusal, header):
    message = refusal(write_manifest(tmp_path, *SOUND, header=header))
    assert "manifest.csv:1: the header must name the column" in message
    assert "its columns are path,labels,split, separated by commas" in message


def test_links_in_a_manifest_are_followed(tmp_path, load):
    root = write_manifest(tmp_path / "photos", *SOUND)
    write_files(tmp_path, {"elsewhere/c.jpg": encoded(photo(50))})
    (root / "c.jpg").unlink()
    (root / "c.jpg").symlink_to(tmp_path / "elsewhere/c.jpg")
    ((pixels, _),) = rows_of(load(root).query)
    assert pixels == reference((tmp_path / "elsewhere/c.jpg").read_bytes(), SIDE).tobytes()


def test_lines_that_begin_with_a_hash_are_images_and_comments_hold_no_comma(tmp_path, load):
    more = ("#tag/1.jpg,ant,train", "#2.jpg,#bee,train", "# a comment", '"#3.jpg",bee,train')
    dataset = load(write_manifest(tmp_path, *SOUND, *more))
    assert (len(dataset.train), dataset.classes) == (5, ("#bee", "ant", "bee"))


def test_manifests_that_list_nothing_or_what_is_missing(tmp_path, refusal):
    assert "lists no images" in refusal(write_manifest(tmp_path))
    write_manifest(tmp_path, *SOUND)
    (tmp_path / "c.jpg").unlink()
    assert "1 of 4 images" in (message := refusal(tmp_path))
    assert "'c.jpg' (missing)" in message
    assert "has splits without images: 'query'" in refusal(tmp_path, allow_missing=1)


def test_a_manifest_of_another_machine_needs_its_prefix(tmp_path, load):
    write_manifest(tmp_path, *SOUND)
    lines = [f"/photos/{line}" for line in SOUND]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,labels,split", *lines]))
    assert len(load(tmp_path, strip_prefix="/photos").train) == 2


def test_subsets_and_validation_parts(tmp_path, load):
    dataset = load(write_classes(tmp_path / "photos", each=24))
    limited, held_out = dataset.limited(6), dataset.validation()
    assert limited.name == "photos-limit6"
    assert limited.train.labels.sum(dim=0).tolist() == [2, 2, 2]
    assert torch.cat([held_out.train.labels, held_out.query.labels, held_out.database.labels]).shape == (36, 3)
