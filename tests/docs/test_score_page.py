"""The code of docs/score.md and then its commands, as they stand on the page."""

import shlex

from benchmarks.__main__ import main
from benchmarks.brought.codes import FORMS
from benchmarks.records.store import read_all
from tests.docs.commands import commands, plain
from tests.docs.test_pages import DOCS, run_page

PAGE = DOCS / "score.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_makes_scores_and_tabulates_codes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [command for command in commands(TEXT) if command[:3] == ["python", "-m", "benchmarks"]]
    lists, score, table = (command for command in shown if len(command) > 4)
    assert f"main({str(lists[3:]).replace(chr(39), chr(34))})" in TEXT
    run_page(PAGE)
    for command in (score, table):
        assert main(shlex.split(plain(command))[3:]) == 0
    (record,) = read_all(tmp_path / "mine", "digits")
    assert [length.bits for length in record.lengths] == [8, 16, 32]
    assert 0.2 < record.lengths[0].map < record.lengths[2].map < 1
    text = (tmp_path / "mine/digits/table.md").read_text(encoding="utf-8")
    assert f"[json](runs/{record.id}.json)" in text
    assert record.id.startswith("pca-sign-")


def test_the_page_names_every_array():
    assert all(f"`{name}`" in TEXT for form in FORMS.values() for name in form)
