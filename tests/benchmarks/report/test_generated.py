import subprocess
from pathlib import Path

import pytest

from benchmarks.report.generated import check, write
from dpq import InputError

ROOT = Path(__file__).parents[3]
FILES = {"a.md": "one\ntwo\n", "a.svg": b"<svg>\n</svg>\n", "a.png": b"\x89PNG\n"}


def test_line_ends_of_windows_are_no_other_text(tmp_path):
    write(tmp_path, FILES)
    for name in ("a.md", "a.svg"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"\n", b"\r\n"))
    assert check(tmp_path, FILES, [], "results") == 3
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match=r"a\.png is not what the records give"):
        check(tmp_path, FILES, [], "results")


def test_git_writes_every_text_with_the_line_ends_that_it_holds():
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    listed = subprocess.run(["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        kept, _, attribute = line.split("\t")[0].split(maxsplit=2)
        assert attribute.startswith(("attr/text=auto eol=lf", "attr/-text")), line
        assert kept in ("i/lf", "i/none", "i/-text"), line
