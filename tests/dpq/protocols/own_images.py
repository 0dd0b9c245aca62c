"""Small folders of somebody's own images."""

from __future__ import annotations

from pathlib import Path

from tests.dpq.protocols.gallery import encoded, photo, write_files


def write_classes(root: Path, classes: tuple[str, ...] = ("ant", "bee", "cow"), each: int = 20) -> Path:
    """`<class>/<file>.jpg`, all of different content."""
    files = {
        f"{name}/{i:02d}.jpg": encoded(photo(1000 * place + i, 12, 18))
        for place, name in enumerate(classes)
        for i in range(each)
    }
    return write_files(root, files)


def write_splits(root: Path, each: int = 2) -> Path:
    """`<split>/<class>/<file>.jpg` of two classes, all of different content."""
    files = {
        f"{split}/{name}/{i}.jpg": encoded(photo(100 * place + 10 * column + i, 12, 18))
        for place, split in enumerate(("train", "query", "database"))
        for column, name in enumerate(("ant", "bee"))
        for i in range(each)
    }
    return write_files(root, files)


def write_manifest(root: Path, *lines: str, header: str = "path,labels,split") -> Path:
    """`manifest.csv`, and an image of its own wherever a line names one below the root."""
    for number, line in enumerate(lines):
        path = line.split(",")[0].strip('"')
        if path and not path.startswith(("/", "..", "C:")) and not (root / path).exists():
            write_files(root, {path: encoded(photo(number, 12, 18))})
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return root
