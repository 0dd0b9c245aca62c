"""Packages as an installer leaves them, without one: modules, and metadata with entry points."""

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parent / "dpq_example_method"


def install_example(site: Path, version: str = "") -> None:
    """The example package, as its own pyproject.toml describes it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    for module in project["tool"]["setuptools"]["py-modules"]:
        site.mkdir(exist_ok=True)
        shutil.copy(EXAMPLE / f"{module}.py", site)
    project = project["project"]
    write_metadata(site, project["name"], project["entry-points"]["dpq.methods"], version or project["version"])


def install(site: Path, name: str, module: str, methods: dict[str, str]) -> None:
    """A package of one module of the same name."""
    site.mkdir(exist_ok=True)
    (site / f"{name.replace('-', '_')}.py").write_text(module)
    write_metadata(site, name, methods, "2.0")


def write_metadata(site: Path, name: str, methods: dict[str, str], version: str) -> None:
    folder = site / f"{name.replace('-', '_')}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = "".join(f"{method} = {value}\n" for method, value in methods.items())
    (folder / "entry_points.txt").write_text(f"[dpq.methods]\n{points}")
