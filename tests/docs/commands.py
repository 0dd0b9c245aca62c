"""The commands that pages show, and where CI runs them."""

import re
import shlex
from pathlib import Path

import noxfile

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CI = (ROOT / ".ci/run").read_text(encoding="utf-8")

# Indented blocks that show files. Every other one, and every fenced block of a shell, holds commands.
FILES = re.compile(r"DIR/|path,labels,split$")
SHELLS = ("", "bash", "console", "sh")

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n)((?:    .*\n|\n(?=    ))+)")
_INLINE = re.compile(r"`((?:python|pip|nox|uv) [^`]+)`")


def commands(text):
    """Every command of a page: lines of blocks, and code within a sentence that starts with a program of ours."""
    blocks = [content for language, content in _FENCED.findall(text) if language in SHELLS]
    prose = _FENCED.sub("", text)
    blocks += [block for block in _INDENTED.findall(prose) if not FILES.match(block.split()[0])]
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    lines += [" ".join(code.split()) for code in _INLINE.findall(_INDENTED.sub("\n", prose))]
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]


def fenced(text, language):
    """The blocks of a language."""
    return [content for name, content in _FENCED.findall(text) if name == language]


class Stopped(Exception):
    """A session gave up."""


class Recorder:
    """Stands for nox's session: keeps what a session would run."""

    def __init__(self, name, posargs):
        self.name, self.posargs, self.commands = name, posargs, []

    def install(self, *arguments, **options):
        pass

    log = install

    def error(self, message):
        raise Stopped(message)

    def run(self, *command, silent=False, **options):
        if silent:  # a question to this machine, such as whether it has a GPU
            return "False\n"
        self.commands.append([str(part) for part in command])
        return None


def session_commands(name, posargs=()):
    """What the session `name` of the noxfile runs."""
    sessions = {value.name or key: value for key, value in vars(noxfile).items() if hasattr(value, "reuse_venv")}
    recorder = Recorder(name, list(posargs))
    if name not in sessions:
        raise Stopped(f"the noxfile has no session {name}")
    sessions[name](recorder)
    return recorder.commands


def plain(command):
    """A command as text, however nox is called."""
    return " ".join(command[2:] if command[:3] == ["python", "-m", "nox"] else command)


def ci_commands():
    """Every command of `.ci/run`, and what its sessions of nox run."""
    lines = re.split(r"&&|\n", CI)
    found = [shlex.split(line.strip(" \t\\"), comments=True) for line in lines if line.count('"') % 2 == 0]
    sessions = [plain(command).split() for command in found if "nox" in command and "-s" in command]
    for _, _, name, *arguments in sessions:
        if name not in ("docs", "package"):  # which look at this machine first; no page shows what they run
            found += session_commands(name, arguments[1:])
    return {plain(command) for command in found}
