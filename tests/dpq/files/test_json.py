import json

import pytest

from dpq.files import json as json_text
from dpq.files.json import parse_json, read_json


def test_a_file_comes_back_as_it_was_written(tmp_path):
    value = {"a": [1, 2.5, None, True, "ü 😀 \\ud800"], "b": {}}
    for ascii_only in (True, False):
        (tmp_path / "f.json").write_text(json.dumps(value, ensure_ascii=ascii_only), encoding="utf-8")
        assert read_json(tmp_path / "f.json") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[NaN]", "NaN is no JSON number"),
        ("-Infinity", "-Infinity is no JSON number"),
        ("[1e999]", "the number 1e999 is too large"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "Exceeds the limit"),
        ("{", "Expecting property name"),
    ],
)
def test_what_readers_disagree_about_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@pytest.mark.parametrize("text", [r"\ud800", r"\ude00", r"\ud83d\\\ude00", r"\uDE00\uD83D", r"\ud83d\ud83d\ude00"])
def test_half_a_surrogate_pair_is_refused(tmp_path, text):
    (tmp_path / "f.json").write_text(f'["{text}"]')
    with pytest.raises(ValueError, match="half a surrogate pair"):
        read_json(tmp_path / "f.json")


def test_no_more_than_the_bound_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_text, "MOST_BYTES", 10)
    (tmp_path / "f.json").write_text("12345678901")
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_json(tmp_path / "f.json")
