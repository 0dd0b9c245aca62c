import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dpq.cli.commands
from dpq.__main__ import main
from dpq.search.index import CodeIndex

SMALL = "--backbone test_resnet --weights none --bits 8 --codebook-size 16 --embedding-dim 8 --image-size 32 --epochs 1"


def fill(folder, count, first=0):
    """Images of three colours in class folders."""
    random = np.random.default_rng(first)
    for number in range(first, first + count):
        colour, noise = np.eye(3)[number % 3] * 180, random.integers(0, 60, (20, 24, 3))
        (folder / "rgb"[number % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray((colour + noise).astype(np.uint8)).save(folder / "rgb"[number % 3] / f"{number:02}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with photos, a model and an index, as the commands made them."""
    folder = tmp_path_factory.mktemp("made")
    fill(folder / "photos", 48)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "photos", "--output", "model", *SMALL.split()]) == 0
        assert main(["index", "build", "model", "photos", "--output", "photos.index"]) == 0
    return folder


@pytest.fixture
def call(made, tmp_path, monkeypatch):
    """Runs a command in a copy of the folder."""
    for name in ("photos", "model"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "photos.index").write_bytes((made / "photos.index").read_bytes())
    monkeypatch.chdir(tmp_path)

    def run(command):
        return main(command.split())

    return run


def test_answers_are_printed_and_drawn(call, capsys):
    assert call("index search photos.index photos/r/00.png photos/g/01.png --k 3 --grid answers.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["photos/r/00.png", "photos/g/01.png"]
    answers = [line.split() for line in lines if line.startswith(" ")]
    assert [rank for rank, *_ in answers] == ["1", "2", "3"] * 2
    assert float(answers[0][1]) >= float(answers[1][1])
    assert all(Path("photos", name).is_file() for *_, name in answers)
    with Image.open("answers.png") as grid:
        assert grid.format == "PNG"
        orange = (np.asarray(grid) == (0xD5, 0x5E, 0)).all(axis=2).any()
    assert orange == any(name[0] != "rg"[i // 3] for i, (*_, name) in enumerate(answers))


def test_images_are_added_and_removed(call, capsys, made):
    assert call("index remove photos.index r/00.png photos/g/01.png") == 0
    assert len(CodeIndex.load("photos.index")) == 46
    assert call("index add photos.index photos/r/00.png") == 0
    assert CodeIndex.load("photos.index").names[-1] == "r/00.png"
    assert call("index add photos.index") == call("index add photos.index") == 0
    assert sorted(CodeIndex.load("photos.index").names) == sorted(CodeIndex.load(made / "photos.index").names)


def test_an_index_is_changed_through_a_link_to_it(call, tmp_path, monkeypatch, capsys):
    (tmp_path / "store").mkdir()
    assert call("index build model photos --output store/1.index") == 0
    Path("current.index").symlink_to("store/1.index")
    assert call("index remove current.index r/00.png") == 0
    assert len(CodeIndex.load("store/1.index")) == 47
    assert call("index add current.index photos/r/00.png") == 0
    assert call("index build model photos --output current.index --bits 4") == 0
    assert Path("current.index").is_symlink() and CodeIndex.load("store/1.index").bits == 4
    Path("grid.png").symlink_to("store/grid.png")
    for name in ("current.index", "store/1.index"):
        capsys.readouterr()
        assert call(f"index search {name} photos/r/00.png --k 1 --grid grid.png") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
    assert Path("grid.png").is_symlink() and Path("store/grid.png").is_file()
    Path("latest").symlink_to("store/model")
    assert call(f"train photos --output latest {SMALL}") == call(f"train photos --output latest {SMALL}") == 0
    assert Path("latest").is_symlink() and Path("store/model/config.json").is_file()


def test_the_last_image_is_removed_and_another_added(call, capsys):
    every = " ".join(CodeIndex.load("photos.index").names)
    assert call(f"index remove photos.index {every}") == 0
    capsys.readouterr()
    assert call("index search photos.index photos/r/00.png --grid grid.png") == 0
    assert capsys.readouterr().out.splitlines() == ["photos/r/00.png"]
    assert call("index add photos.index photos/r/00.png") == 0
    index = CodeIndex.load("photos.index")
    assert (index.names, index.ids.tolist()) == (("r/00.png",), [48])
    assert call("index remove photos.index r/00.png") == call("index add photos.index") == 0
    assert len(CodeIndex.load("photos.index")) == 48


def test_options_reach_the_index(call, capsys):
    assert call("index build model photos --output other.index --bits 4 --score l2 --lists 3") == 0
    index = CodeIndex.load("other.index")
    assert (index.bits, index.score, len(index.centroids)) == (4, "l2", 3)
    assert call("index search other.index photos/r/00.png --probes 1 --k 2") == 0
    assert call("index search photos.index photos/r/00.png --bits 4 --k 2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "--help"),
        ("index", "--help"),
        ("train photos", "--output"),
        ("train nowhere --output m", "no image folder nowhere"),
        ("train photos --output photos", "choose another path; on the command line: --output MODEL"),
        ("train photos --output m --bits 12 --weights none", "multiples of 8 bits"),
        ("train photos --output m --weights nowhere.pth", "does not exist"),
        ("train photos --output m --weights nowhere.pth", "; on the command line: --weights FILE, or --weights none"),
        ("train photos --output m --epochs 0", "positive number"),
        ("train photos --output m --workers -1", "--workers: expected a number that is at least 0, got '-1'"),
        ("index build nowhere photos --output i", "cannot be used as a saved model"),
        ("index build model nowhere --output i", "no image folder"),
        ("index build model photos --output photos/r/00.png", "is no index"),
        ("index build model photos --output i --bits 16", "exceed the 8 bits"),
        ("index build model photos --output i --score cosine", "score must be"),
        ("index build model photos --output i --lists 99", "can have 1 to 48 lists"),
        ("index build model photos --output i --device abacus", "device abacus"),
        ("index search photos.index photos/r/00.png --device abacus", "; on the command line: --device cpu"),
        ("index search nowhere photos/r/00.png", "no index nowhere"),
        ("index search photos/r/00.png photos/r/00.png", "cannot be used as an index"),
        ("index search photos.index nowhere.png", "nowhere.png cannot be used: missing"),
        ("index search photos.index photos/r/00.png --probes 2", "0 lists"),
        ("index add photos.index photos/r/00.png", "is in the index already"),
        ("index remove photos.index photos/r/99.png", "no image r/99.png"),
        ("index remove photos.index ../elsewhere.png", "is not in"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(call, capsys, command, words):
    before = Path("photos.index").read_bytes()
    assert call(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert Path("photos.index").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["model", "photos", "photos.index"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (f"train damaged --output m {SMALL} --backbone nosuchnet", "unknown backbone 'nosuchnet'"),
        (f"train damaged --output m {SMALL} --weights nofile.pth", "nofile.pth does not exist"),
        (f"train damaged --output m {SMALL} --embedding-dim 2", "raise the embedding dimension"),
        (f"train damaged --output m {SMALL} --codebook-size 64 --bits 6", "got 48"),
        (f"train damaged --output m {SMALL} --batch-size 1", "batches of two images or more"),
        (f"train damaged --output m {SMALL} --batch-size 99999999999", "batch_size must be a whole number from 1 to"),
        (f"train damaged --output m {SMALL} --backbone efficientformer_l1", "on the command line: --image-size N"),
        (f"train damaged --output damaged/r/00.png/m {SMALL}", "is no folder that takes files"),
        ("index build model damaged --output i --score cosine", "score must be"),
        ("index build model damaged --output i --lists 5000", "can have 1 to 48 lists"),
        ("index build model damaged --output i --bits 16", "exceed the 8 bits"),
        ("index build model damaged --output damaged/r/00.png/i", "is no folder that takes files"),
    ],
)
def test_what_needs_no_image_is_said_before_the_first_is_read(call, made, tmp_path, capsys, command, words):
    shutil.copytree(made / "photos", tmp_path / "damaged")
    for image in (tmp_path / "damaged").rglob("*.png"):
        image.write_bytes(b"")
    assert call(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error


@pytest.mark.parametrize("command", ["build model photos --output i", "search photos.index photos/r/00.png"])
def test_without_faiss_it_says_what_to_install(call, capsys, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert call(f"index {command}") == 2
    assert "pip install 'dpq[search]'" in capsys.readouterr().err
    assert not Path("i").exists()


@pytest.mark.parametrize("command", ["", "train", "index", "index build", "index search", "index add", "index remove"])
def test_help_says_what_a_command_does(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 8


def test_an_interrupted_command_says_how_to_go_on(call, capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dpq.cli.commands, "run", interrupted)
    assert call("index add photos.index") == 130
    assert capsys.readouterr().err.startswith("interrupted: the index is as it was")


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
def test_ctrl_c_while_pytorch_is_loaded_is_one_line(tmp_path):
    # A module that takes the place of PyTorch, and takes for ever.
    (tmp_path / "torch.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(3600)\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(dpq.__file__).parents[1])])
    child = subprocess.Popen(
        [sys.executable, "-m", "dpq", "index", "add", "photos.index"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Also where tests run in the background, with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert child.stdout.readline() == "loading\n"
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=60)
        assert time.monotonic() - begun < 2
        assert child.returncode == 130
        assert error.count("\n") == 1 and error.startswith("interrupted: ")
    finally:
        child.kill()
