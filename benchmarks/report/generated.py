"""Files that are made from records: written, or compared byte for byte with the written ones.

The one difference that does not count is line ends of Windows, which git or a transfer may have put into a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dpq.errors import InputError
from dpq.files.atomic import write_atomically
from dpq.files.places import exists, is_file

Files = Mapping[str, str | bytes]  # by their path below a folder
BENCH_PAGE = "bench/README.md"  # what the benchmarks of speed write below the folder of results


def write(folder: Path, files: Files, possible: Iterable[str] = ()) -> list[Path]:
    """Write files, and delete those of the `possible` ones that nothing makes any more."""
    for name, content in files.items():
        write_atomically(folder / name, content)
    for stale in set(possible) - files.keys():
        (folder / stale).unlink(missing_ok=True)
    return [folder / name for name in files]


def check(folder: Path, files: Files, possible: Iterable[str], command: str) -> int:
    """The number of files, all of which are there as they are made.

    Raises:
        InputError: names the first file that differs or is missing, or a `possible` one that nothing makes, and the
            command that puts it right.
    """
    for name, content in files.items():
        path, made = folder / name, content.encode() if isinstance(content, str) else content
        if not is_file(path) or _lines(path, path.read_bytes()) != _lines(path, made):
            raise InputError(f"{path} is not what the records give; renew it with: python -m benchmarks {command}")
    for stale in sorted(set(possible) - files.keys()):
        if exists(folder / stale):
            raise InputError(f"{folder / stale} is made from no record; remove it with: python -m benchmarks {command}")
    return len(files)


def _lines(path: Path, content: bytes) -> bytes:
    return content if path.suffix == ".png" else content.replace(b"\r\n", b"\n")
