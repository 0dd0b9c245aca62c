"""`python -m tools.distributions DIR`: check the wheel and the sdist in DIR against the checkout.

The wheel was built from the sdist, so what it lacks, the sdist lacks.
"""

from __future__ import annotations

import runpy
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tools import ROOT

Files = Mapping[str, bytes]
"""Path below the root of a distribution -> content."""

# What somebody who has the sdist alone needs besides the library, to build it and to know what it is.
BESIDE = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")
_MADE = ("PKG-INFO", "setup.cfg", "dpq.egg-info/")  # by building


def library(root: Path = ROOT) -> Files:
    """The files of the library in a checkout."""
    paths = [path for path in sorted((root / "dpq").rglob("*")) if path.suffix == ".py" or path.name == "py.typed"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def read_wheel(path: Path) -> Files:
    """The files of a wheel."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def read_sdist(path: Path) -> Files:
    """The files of an sdist, without the folder that holds them all."""
    files: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if content := archive.extractfile(member):
                files[PurePosixPath(*PurePosixPath(member.name).parts[1:]).as_posix()] = content.read()
    return files


def differences(wheel: Files, sdist: Files, root: Path = ROOT) -> list[str]:
    """What is missing, too much or another file in either."""
    expected = dict(library(root))
    beside = {name: (root / name).read_bytes() for name in BESIDE}
    plain = {name: content for name, content in wheel.items() if ".dist-info/" not in name}
    source = {name: content for name, content in sdist.items() if not name.startswith(_MADE)}
    return [*_compare("wheel", plain, expected), *_compare("sdist", source, expected | beside)]


def _compare(what: str, found: Files, expected: Files) -> list[str]:
    missing = [f"the {what} lacks {name}" for name in sorted(expected.keys() - found.keys())]
    more = [f"the {what} also holds {name}" for name in sorted(found.keys() - expected.keys())]
    both = sorted(expected.keys() & found.keys())
    return [*missing, *more, *(f"{name} of the {what} is another" for name in both if found[name] != expected[name])]


def main(folder: Path) -> int:
    """Exit status 1 where a distribution is not what the checkout holds."""
    version = runpy.run_path(str(ROOT / "dpq/version.py"))["__version__"]  # importing dpq takes ten seconds
    wheels, sdists = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    names = [path.name for path in [*wheels, *sdists]]
    if names != [f"dpq-{version}-py3-none-any.whl", f"dpq-{version}.tar.gz"]:
        print(f"expected one wheel and one sdist of {version}; found {', '.join(names)}", file=sys.stderr)
        return 1
    wrong = differences(read_wheel(wheels[0]), read_sdist(sdists[0]))
    print("\n".join(wrong) or f"wheel and sdist of {version} hold what the checkout holds", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
