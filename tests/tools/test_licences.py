"""`docs/licences.md` names every locked package, and licences that ask nothing of those who import it."""

import re

import pytest

from tools import licences
from tools.licences import PAGE, differences, listed, main, page
from tools.lock import LOCK, RENEW, of_cuda, parse

TEXT = PAGE.read_text(encoding="utf-8")
TABLE = listed(TEXT)

# Permissive, or weak copyleft that stays within the package's own files (MPL).
ACCEPTED = re.compile(
    r"(MIT|MIT-CMU|0BSD|BSD|BSD-[23]-Clause|ISC|Apache-2\.0|Apache-2\.0 WITH LLVM-exception|Apache Software|BSL-1\.0"
    r"|CC0-1\.0|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|PSF-2\.0|Python Software Foundation|Zlib)( License)?"
)


def unaccepted(table):
    return {
        name: licence
        for name, (_, licence) in table.items()
        if not all(ACCEPTED.fullmatch(part) for part in re.split(r" AND | OR |; ", licence))
        and not (of_cuda(name) and "proprietary" in licence.lower())
    }


def test_the_page_covers_the_lock_exactly():
    locked = {name: pin.version for name, pin in parse(LOCK.read_text(encoding="utf-8")).items()}
    assert {name: version for name, (version, _) in TABLE.items()} == locked, f"run {RENEW}"


def test_the_page_is_what_its_table_gives():
    assert page(TABLE) == TEXT, f"run {RENEW}"


def test_licences_are_permissive_or_those_of_the_cuda_build():
    assert unaccepted(TABLE) == {}


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND LGPL-2.1", "UNKNOWN", "Other/Proprietary License"])
def test_other_licences_are_noticed(licence):
    assert unaccepted({"package": ("1", licence)})


def test_nvidia_s_libraries_are_called_proprietary():
    nvidia = {name: licence.lower() for name, (_, licence) in TABLE.items() if name.startswith("nvidia-")}
    assert nvidia
    assert all("proprietary" in licence for licence in nvidia.values())
    assert "libraries of NVIDIA\nare proprietary" in TEXT


def test_only_the_same_version_is_compared():
    table = {"a": ("1", "MIT"), "b": ("1", "MIT"), "c": ("1", "MIT")}
    here = {"a": ("1", "GPL"), "b": ("2", "GPL"), "d": ("1", "GPL")}
    assert differences(table, here) == ["a 1: the page says MIT, the package GPL"]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A page of its own, of two locked packages that are installed."""
    monkeypatch.setattr(licences, "PAGE", tmp_path / "licences.md")
    monkeypatch.setattr(licences, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(licences, "installed", lambda: {"a": ("1", "MIT"), "b": ("2", "BSD"), "other": ("3", "GPL")})
    (tmp_path / "lock").write_text("a==1\nb==2\n")
    assert main([]) == 0
    return tmp_path / "licences.md"


def test_a_written_page_passes_its_check_and_holds_the_locked_packages_alone(written):
    assert listed(written.read_text()) == {"a": ("1", "MIT"), "b": ("2", "BSD")}
    assert main(["--check"]) == 0


def test_an_edited_page_fails_its_check(written, capsys):
    written.write_text(written.read_text().replace("| MIT |", "| ISC |"))
    assert main(["--check"]) == 1
    assert "a 1: the page says ISC, the package MIT" in capsys.readouterr().err


def test_packages_that_are_not_installed_as_locked_stop_the_writing(written, capsys):
    before = written.read_text()
    written.with_name("lock").write_text("a==1\nb==3\nabsent==1\n")
    assert main([]) == 2
    assert "b, absent" in capsys.readouterr().err
    assert written.read_text() == before
