"""The library speaks of settings and the command line adds its options."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import dpq
from benchmarks.__main__ import make_parser
from benchmarks.setting.advice import OPTIONS
from dpq.cli.parser import status_of
from dpq.errors import InputError

OWN_COMMANDS = ("__main__", "commands", "parser", "interrupts")  # of the library, with options of their own
SOURCES = [path for path in Path(dpq.__file__).parent.rglob("*.py") if path.stem not in OWN_COMMANDS]
OPTION = re.compile(r"--[a-z]|python -m benchmarks|check-data")


def texts(tree):
    """Every text of a module that is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {id(body[0].value) for body in bodies}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_library_names_no_option_of_the_command_line(path):
    assert [text for text in texts(ast.parse(path.read_text(encoding="utf-8"))) if OPTION.search(text)] == []


def abouts():
    """What errors of the library are about: the second argument, or the one of that name."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError" and len(node.args) > 1:
                yield from (one.value for one in ast.walk(node.args[1]) if isinstance(one, ast.Constant) and one.value)


def test_each_setting_that_an_error_is_about_has_an_option():
    assert {about for about in abouts() if about != "about"} | {"output"} == set(OPTIONS)


def test_the_options_are_those_of_the_command_line(capsys):
    shown = []
    for command in ("run", "check-data"):
        with pytest.raises(SystemExit):
            make_parser().parse_args([command, "--help"])
        shown.append(capsys.readouterr().out)
    for advice in OPTIONS.values():
        for option in re.findall("--[a-z-]+", advice):
            assert option in "".join(shown)


def told(error, capsys):
    def fails():
        raise error

    assert status_of(fails, OPTIONS) == 2
    return capsys.readouterr().err


def test_an_error_is_told_with_its_option_and_keeps_it_between_processes(capsys):
    error = InputError("12 images are missing", "allow_missing", 12)
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert str(one) == "12 images are missing"
        assert told(one, capsys) == (
            "error: 12 images are missing; on the command line: check-data names what is missing, --allow-missing 12 "
            "goes on without it\n"
        )
    assert told(InputError("something else"), capsys) == "error: something else\n"
    assert told(InputError("something else", "unknown"), capsys) == "error: something else\n"
