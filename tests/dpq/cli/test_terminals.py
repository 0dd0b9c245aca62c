"""Names that the terminal's encoding lacks: they are printed escaped, and the work goes on."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dpq
from dpq.__main__ import main
from dpq.cli.parser import status_of

ROOT = Path(dpq.__file__).parents[1]
TERMINALS = {
    "a redirect on Windows": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "strict": {"PYTHONIOENCODING": "ascii:strict"},
    "LC_ALL=C": {"LC_ALL": "C"},
    "LC_ALL=C as it is": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
ANYWHERE = pytest.mark.parametrize("terminal", TERMINALS)
UNNAMED = os.fsdecode(b"\xff.png")  # a name that is no UTF-8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos in class folders of names in several scripts, and their index."""
    made, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(48):
        colour, noise = np.eye(3)[number % 3] * 180, random.integers(0, 60, (20, 24, 3))
        file = made / "photos" / ("日本", "été", "g")[number % 3] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((colour + noise).astype(np.uint8)).save(file)
    small = "--backbone test_resnet --weights none --bits 8 --codebook-size 16 --embedding-dim 8 --image-size 32"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        assert main(["train", "photos", "--output", "model", *small.split(), "--epochs", "1"]) == 0
        assert main(["index", "build", "model", "photos", "--output", "photos.index"]) == 0
    return made


@pytest.fixture
def call(folder):
    """Runs a module's command line in a process with another terminal; its status and what it printed."""

    def run(terminal, module, *arguments):
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | TERMINALS.get(terminal, {})
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        return done.returncode, done.stdout, done.stderr

    return run


@ANYWHERE
def test_answers_are_printed_and_drawn(call, folder, tmp_path, terminal):
    picture = tmp_path / "answers.png"
    query = ["photos/日本/03.png", "--k", "48", "--grid", str(picture)]
    status, printed, _ = call(terminal, "dpq", "index", "search", "photos.index", *query)
    assert (status, len(printed.splitlines()), picture.read_bytes()[:4]) == (0, 49, b"\x89PNG")


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
@pytest.mark.parametrize("terminal", ["", *TERMINALS])
def test_a_query_of_a_name_that_is_no_text_is_answered(call, folder, tmp_path, terminal):
    query, picture = tmp_path / UNNAMED, tmp_path / "answers.png"
    query.write_bytes((folder / "photos/g/02.png").read_bytes())
    status, printed, _ = call(terminal, "dpq", "index", "search", "photos.index", str(query), "--grid", str(picture))
    assert (status, len(printed.splitlines()), picture.read_bytes()[:4]) == (0, 11, b"\x89PNG")


@ANYWHERE
def test_a_check_of_data_names_its_classes(call, folder, tmp_path, terminal):
    report = tmp_path / "report.txt"
    arguments = ["check-data", "folder", "--data-root", "photos", "--report", str(report)]
    status, printed, said = call(terminal, "benchmarks", *arguments)
    if "PYTHONUTF8" in TERMINALS[terminal]:  # there Python itself reads no such name
        assert status == 2 and said.count(b"\n") == 1 and b"is no name in UTF-8; rename it" in said
        return
    assert status == 0 and b"fit: every image is readable" in printed
    assert "fit: every image is readable" in report.read_text(encoding="utf-8")
    if TERMINALS[terminal].get("PYTHONIOENCODING") == "cp1252":
        assert rb"\u65e5\u672c" in printed and "été".encode("cp1252") in printed
        assert "日本" in report.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_a_check_of_data_in_a_folder_whose_name_is_no_text_is_reported(call, folder, tmp_path):
    root, report = tmp_path / UNNAMED, tmp_path / "report.txt"
    root.symlink_to(folder / "photos")
    arguments = ["check-data", "folder", "--data-root", str(root), "--report", str(report)]
    assert call("", "benchmarks", *arguments)[0] == 0
    assert r"\udcff.png" in report.read_text(encoding="utf-8")


@ANYWHERE
@pytest.mark.parametrize("module", ["dpq", "benchmarks", "benchmarks.bench"])
def test_a_mistake_is_one_line(call, terminal, module):
    status, _, said = call(terminal, module, "日本")
    assert (status, said.startswith(b"error: "), said.count(b"\n")) == (2, True, 1)


def test_a_command_prints_what_its_terminal_lacks(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    assert status_of(lambda: print("日 é"), {}) == 0
    stream.flush()
    assert stream.buffer.getvalue().split() == [rb"\u65e5", "é".encode("cp1252")]


def test_a_full_gpu_is_one_line(capsys):
    def fills():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 784.00 MiB")

    assert status_of(fills, {}) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the memory of the GPU is full; ")
