"""A folder of one's own images from end to end, through the command line."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.commands.results import published
from benchmarks.records.store import read_record
from benchmarks.report.pages.results import _not_run
from benchmarks.setting.experiment import load_experiment, parse_experiment
from benchmarks.setting.overrides import with_protocol, with_stored_side
from dpq import InputError
from tests.benchmarks.conftest import TINY
from tests.dpq.protocols.gallery import encoded, photo, write_files
from tests.dpq.protocols.own_images import write_classes, write_manifest

PAGE = Path(__file__).parents[3] / "docs/own-data.md"


@pytest.fixture
def photos(tmp_path):
    """60 images of three classes."""
    return write_classes(tmp_path / "photos")


@pytest.fixture
def call(configs, tmp_path, monkeypatch):
    """Run a command in an empty folder, where `own` is tiny; returns the exit status."""
    (configs / "own.toml").write_text(TINY.replace('"digits"', '"folder"'))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DPQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DPQ_DATA_ROOT", raising=False)
    return lambda *arguments: main([str(argument) for argument in arguments])


def records(experiment="own"):
    return [read_record(path).raw for path in sorted(Path(f"results/{experiment}/runs").glob("*.json"))]


def test_methods_run_on_a_folder_and_a_table_is_made(call, photos):
    run = ["run", "own", "--protocol", "folder", "--data-root", photos, "--method"]
    assert call(*run, "pq", "dpq") == 0
    made = records()
    assert {record["method"] for record in made} == {"pq", "dpq"}
    (fingerprint,) = {record["data"]["fingerprint"] for record in made}
    assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    for record in made:
        assert (record["experiment"], record["protocol"]) == ("own", "folder")
        assert record["data"] == {
            "name": "folder",
            "variant": "photos",
            "fingerprint": fingerprint,
            "train": 30,
            "query": 6,
            "database": 24,
            "layout": "classes",
            "classes": ["ant", "bee", "cow"],
            "copies_left_out": 0,
            "queries_in_database": 0,
            "missing": {"images": 0},
            "side": 32,
        }
        assert "00.jpg" not in str(record)
    assert call("table", "own") == 0
    table = Path("results/own/table.md").read_text()
    assert "- **Own images of 3 classes; splits: drawn class by class; not comparable with any paper.**\n" in table
    assert "| DPQ" in table
    assert not re.search(r"\| paper +\|", table)


def test_a_finished_run_is_not_repeated_where_the_folder_was_renamed(call, photos, caplog):
    arguments = ["run", "own", "--method", "pq", "--bits", "4", "--data-root"]
    assert call(*arguments, photos) == 0
    for path in photos.glob("ant/*.jpg"):
        path.rename(path.with_name(f"x{path.name}"))
    with caplog.at_level("INFO"):
        assert call(*arguments, photos.rename(photos.with_name("elsewhere"))) == 0
    assert "nothing to do" in caplog.text
    assert len(records()) == 1


def test_results_are_apart_from_those_of_the_experiment_and_of_every_published_one(call, photos):
    arguments = ["--protocol", "folder", "--data-root", photos, "--method", "pq", "--bits", "4"]
    assert call("run", "tiny", *arguments) == 0
    assert not Path("results/tiny").exists()
    assert [record["experiment"] for record in records()] == ["own"]
    with pytest.raises(InputError, match="no records of a published experiment"):
        published(Path("results"))
    assert "`own`" not in _not_run([])


def test_other_protocols_keep_their_experiments(call, photos, capsys):
    assert call("run", "own", "--protocol", "digits", "--data-root", photos) == 2
    error = capsys.readouterr().err
    assert "own is an experiment on folder; --protocol takes folder, for images of your own" in error
    assert not Path("results").exists()


def test_splits_of_other_data_are_not_drawn():
    unseen = load_experiment("cifar10-unseen")
    assert len(unseen.split_seeds) > 1
    own = with_protocol(unseen, "folder")
    assert (own.name, own.protocol, own.split_seeds) == ("own", "folder", (0,))
    assert with_protocol(unseen, None) is with_protocol(unseen, "cifar10-unseen") is unseen


@pytest.mark.parametrize(("size", "crop", "side"), [(224, 0.875, 256), (112, 0.875, 128), (80, 1, 80)])
def test_images_are_stored_as_large_as_a_crop_needs(size, crop, side):
    text = TINY.replace('"digits"', '"folder"').replace("image_size = 32", f"image_size = {size}")
    text = text.replace("[methods.dpq]", f"[training.augmentation]\ncrop = {crop}\n[methods.dpq]")
    assert with_stored_side(parse_experiment("own", text)).stored_side == side
    assert with_stored_side(parse_experiment("own", "stored_side = 99\n" + text)).stored_side == 99
    assert with_stored_side(parse_experiment("own", text.replace("folder", "digits"))).stored_side is None


def test_several_labels(call, tmp_path):
    labels = ("ant", "bee", "ant|bee", "cow", "bee;cow")
    splits = ("train", "train", "train", "query", "database")
    lines = [f"{i}.jpg,{labels[i % 5]},{splits[i // 5 % 5]}" for i in range(50)]
    root = write_manifest(tmp_path / "listed", *lines)
    assert call("run", "own", "--data-root", root, "--method", "dpq", "label-code", "--bits", "4") == 2
    assert call("run", "own", "--data-root", root, "--method", "dpq", "--bits", "4") == 0
    (record,) = records()
    assert (record["data"]["train"], record["data"]["query"], record["data"]["database"]) == (30, 10, 10)
    assert record["data"]["layout"] == "manifest"


def test_subsets_and_validation_parts_say_so(call, photos):
    arguments = ["run", "own", "--data-root", photos, "--method", "pq", "--bits", "4"]
    assert call(*arguments, "--limit", "48") == 0
    assert records()[0]["data"]["variant"] == "photos-limit48"
    assert records()[0]["data"]["fingerprint"].endswith("-limit48")
    write_classes(photos, each=40)
    assert call(*arguments, "--validation") == 0
    assert {record["data"]["variant"] for record in records()} == {"photos-limit48", "photos-validation"}


def test_what_could_not_be_read_stands_in_the_table(call, photos, capsys):
    write_files(
        photos, {"ant/broken.jpg": encoded(photo(1))[:150], "bee/copy.jpg": (photos / "bee/00.jpg").read_bytes()}
    )
    arguments = ["run", "own", "--data-root", photos, "--method", "pq", "--bits", "4"]
    assert call(*arguments) == 2
    assert "'ant/broken.jpg' (unreadable" in capsys.readouterr().err
    assert call(*arguments, "--allow-missing", "1") == 0
    assert call("table", "own") == 0
    table = Path("results/own/table.md").read_text()
    assert "paper.** Images that could not be read: 1.\n" in table
    assert "`). Copies of others, left out: 1.\n" in table


def test_a_sound_folder_passes_the_check(call, photos, capsys):
    write_files(photos, {"ant/notes.txt": b""})
    assert call("check-data", "folder", "--data-root", photos) == 0
    printed = capsys.readouterr().out
    assert f"{photos}: 60 images of 3 classes, from class folders; splits are drawn" in printed
    assert re.search(r"\| train +\| 30 +\| 1.00 +\| 10 to 10", printed)
    assert "passed over, as they are no images: 1\n  ant/notes.txt\n" in printed
    assert printed.rstrip().endswith("fit: every image is readable")
    assert call("run", "own", "--data-root", photos, "--method", "pq", "--bits", "4") == 0
    assert f"fingerprint: {records()[0]['data']['fingerprint']}\n" in printed


def test_the_check_names_everything_that_is_wrong(call, tmp_path, capsys):
    root = write_manifest(
        tmp_path / "listed",
        *(f"{i}.jpg,{'ab'[i % 2]},{('train', 'query', 'database')[i % 3]}" for i in range(12)),
        "gone.jpg,a,train",
        "broken.jpg,a,train",
        "leak.jpg,a,train",
        "twin.jpg,a,database",
    )
    (root / "gone.jpg").unlink()
    (root / "broken.jpg").write_bytes(b"no image")
    (root / "leak.jpg").write_bytes((root / "4.jpg").read_bytes())
    (root / "twin.jpg").write_bytes((root / "0.jpg").read_bytes())
    assert call("check-data", "folder", "--data-root", root) == 2
    printed = capsys.readouterr()
    report = Path("check-folder.txt").read_text()
    for text in (printed.out, report):
        assert "queries with the content of an image of another split: 1\n  4.jpg = leak.jpg\n" in text
        assert "missing: 1\n  gone.jpg\n" in text
        assert "unreadable: 1\n  broken.jpg: no image of the formats" in text
        assert "leak.jpg = 4.jpg (a query and a training image)\n" in text
        assert "twin.jpg = 0.jpg\n" in text
        assert "not fit: there are queries with the content of an image of another split\n" in text
    assert f"{root} cannot be used as it is; check-folder.txt names all of it" in printed.err
    (root / "leak.jpg").write_bytes(encoded(photo(70)))
    assert call("check-data", "folder", "--data-root", root) == 2
    assert "or run with --allow-missing 2\n" in capsys.readouterr().out


def test_faults_of_a_manifest_end_the_check(call, tmp_path, capsys):
    root = write_manifest(tmp_path / "listed", "a.jpg,ant,train", "../b.jpg,ant,train")
    assert call("check-data", "folder", "--data-root", root) == 2
    error = capsys.readouterr().err
    assert "manifest.csv: line 3: path '../b.jpg' names no file below the data root" in error
    assert error.count("\n") == 1


def test_without_a_folder_the_guide_shows_the_layouts(call, capsys):
    assert call("check-data", "folder") == 2
    printed = capsys.readouterr()
    assert "FOLDER/manifest.csv" in printed.out
    assert "python -m benchmarks run own --data-root" in printed.out
    assert call("run", "own") == 2
    assert "on the command line: --data-root DIR; python -m benchmarks check-data folder" in capsys.readouterr().err


def test_every_command_of_the_page_works(call, photos, configs):
    (configs / "cifar10-cpu.toml").write_text(TINY.replace('"digits"', '"cifar10"'))
    commands = re.findall(r"^    (python .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        python, *arguments = shlex.split(command.replace("FOLDER", str(photos)), comments=True)
        assert [python, *arguments[:2]] == ["python", "-m", "benchmarks"]
        assert call(*arguments[2:]) == 0, command
    assert Path("results/own/table.md").exists()


def test_the_manifest_of_the_page_is_one(call, tmp_path, capsys):
    (block,) = re.findall(r"(?:^    (?!python).*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    header, *lines = [line.strip() for line in block.splitlines()]
    root = write_manifest(tmp_path / "listed", *lines, header=header)
    assert call("check-data", "folder", "--data-root", root) == 0
    assert "3 images of 2 classes, from a manifest" in capsys.readouterr().out
