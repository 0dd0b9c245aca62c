"""Which figures are made, and that their bytes follow from the records."""

import hashlib
import os
import subprocess
import sys

import matplotlib as mpl
import pytest

from benchmarks.__main__ import main
from benchmarks.figures import FIGURES, make_figures
from benchmarks.report.study import Study
from benchmarks.tuning.study import study_path, write_study
from dpq import InputError
from tests.benchmarks.conftest import make_record
from tests.benchmarks.report.test_ablations import no_margin
from tests.benchmarks.tuning.made_up import make_study

ALWAYS = ("map", "precision_recall", "precision_at_k", "levels")
LOG = [{"margin": 2.0, "learning_rate": 0.1}, {"margin": 1.0, "soft": 0.5, "learning_rate": 0.1}]


def files(*names):
    return {name + suffix for name in names for suffix in (".svg", ".png")}


@pytest.fixture
def everything(put, put_ties, put_projection, put_gallery, tmp_path):
    record = make_record(training_log=LOG)
    copy = make_record(id="dpq-paper-seed0-copy")
    copy["data"] |= {"variant": "cifar10-restored"}
    put(record, make_record("rq", seed=0), no_margin(0, (0.4, 0.6)), copy)
    put(*[make_record(name) for name in ("pq", "dqn", "dtq", "rq-dpq")])  # more rows than a figure has
    for write in (put_ties, put_projection, put_gallery):
        write(record)
    study = make_study(values=(0.5, 0.6), experiment="cifar10")
    write_study(study_path(tmp_path, "cifar10", "dpq"), study)
    return tmp_path


def test_records_alone_give_the_figures_that_need_nothing_else(put, tmp_path):
    put(make_record())
    material = Study.read(tmp_path, "cifar10").sections[0]
    assert tuple(name for name, (draw, _) in FIGURES.items() if draw(material)) == ALWAYS


def test_the_same_records_give_the_same_bytes_in_another_process_whatever_the_reader_has_set(everything):
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 7}):
        made = make_figures(Study.read(everything, "cifar10"))
    assert made.keys() == files(*FIGURES)
    assert {path.name for path in (everything / "cifar10").iterdir()} == {"runs", "exhibits"}  # nothing is written
    code = (
        "import sys, pathlib, hashlib; from benchmarks.figures import make_figures\n"
        "from benchmarks.records import store\n"
        "store.check_identity = lambda record: None\n"  # as in this process
        "from benchmarks.report.study import Study\n"
        "for name, content in make_figures(Study.read(pathlib.Path(sys.argv[1]), 'cifar10')).items():\n"
        "    print(name, hashlib.sha256(content).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(everything)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == "".join(f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in made.items())


def test_files_are_written_as_made_and_those_without_a_source_removed(everything, monkeypatch, capsys):
    for name in FIGURES.keys() - {"ties", "projection"}:  # for time
        monkeypatch.delitem(FIGURES, name)
    made = make_figures(Study.read(everything, "cifar10"))
    folder = everything / "cifar10"
    (folder / "table.md").write_text("stays")
    assert main(["figures", "cifar10", "--output", str(everything)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / name) for name in made]
    assert {name: (folder / name).read_bytes() for name in made} == made
    for exhibit in (folder / "exhibits").glob("*-projection.json"):
        exhibit.unlink()
    assert main(["figures", "cifar10", "--output", str(everything)]) == 0
    assert {path.name for path in folder.iterdir() if path.is_file()} == {"table.md"} | files("ties")


def test_every_axis_is_labelled_and_no_print_is_small(everything):
    material = Study.read(everything, "cifar10").sections[0]
    for name, (draw, _) in FIGURES.items():
        figure = draw(material)
        figure.canvas.draw()
        assert ("" if name == "data" else "cifar10-jpeg, ") + "224 pixels, 4 epochs" in figure.get_suptitle()
        sizes = [text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text()]
        assert min(size for size in sizes if size) >= 5.6  # exponents of 8 points
        if name == "gallery":
            continue  # pictures
        shown = [axes for axes in figure.axes if axes.axison]
        assert any(axes.get_xlabel() for axes in shown)
        assert any(axes.get_ylabel() or name == "ablations" for axes in shown)


def test_without_matplotlib_the_extra_is_named(put, tmp_path, monkeypatch):
    put(make_record())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="figures need matplotlib"):
        make_figures(Study.read(tmp_path, "cifar10"))


def test_figures_need_no_backend_of_a_notebook():
    code = (
        "import os; from benchmarks.figures.style import new_figure, style\n"
        "with style('x'):\n    new_figure(1, 1, 'x')\nprint(os.environ['MPLBACKEND'])"
    )
    named = {"MPLBACKEND": "module://of_a_notebook.backend"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | named, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, named["MPLBACKEND"]), done.stderr
