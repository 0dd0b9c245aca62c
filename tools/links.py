"""Links of pages, which are written as the repository lies, and where they lead in the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from tools import ROOT

DOCS = "docs"
# A link or an image of Markdown, up to its anchor.
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")


def target(link: str, page: str) -> str:
    """The file in the repository that a link of `page` leads to; both paths are from the root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def place(path: str) -> str:
    """Where a file of the repository stands in the site. The root's README is not the site's first page."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return path.lower() if path in ("README.md", "CHANGELOG.md") else path


def linked(pages: list[str], root: Path = ROOT) -> list[str]:
    """Files outside `docs/` that are linked to from `pages`, or from such a file that is a page itself."""
    found: dict[str, None] = {}
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        for link in _LINK.findall((root / page).read_text(encoding="utf-8")):
            path = target(link, page)
            inside = not path.startswith(("..", "/", f"{DOCS}/"))
            if path not in found and inside and (root / path).is_file():
                found[path] = None
                waiting += [path] if path.endswith(".md") else []
    return sorted(found)


def relinked(text: str, page: str) -> str:
    """The text of a page with its links as they are in the site."""

    def moved(match: re.Match[str]) -> str:
        return posixpath.relpath(place(target(match[0], page)), posixpath.dirname(place(page)) or ".")

    return _LINK.sub(moved, text)
