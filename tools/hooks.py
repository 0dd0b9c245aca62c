"""Hooks of MkDocs: links that leave `docs/` lead somewhere, and equations are drawn without a script.

Pages link as the repository lies, so that they can be read there as well. A file outside `docs/` that some page links
to becomes part of the site.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, InclusionLevel

from tools import ROOT
from tools.links import DOCS, linked, place, relinked

# What pymdownx.arithmatex makes of $...$ and $$...$$.
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def drawn(page: str) -> str:
    """A rendered page with MathML, which browsers draw themselves, for its equations."""

    def equation(match: re.Match[str]) -> str:
        return str(convert(html.unescape(match[2]).strip(), display="block" if match[1] == "div" else "inline"))

    return _EQUATION.sub(equation, page)


def on_files(files: Any, config: Any) -> Any:
    """Add what is linked to outside `docs/`."""
    pages = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    for path in linked(pages):
        source = str(ROOT / path)
        files.append(File.generated(config, place(path), abs_src_path=source, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to where their files stand in the site."""
    source = Path(page.file.abs_src_path)
    return relinked(markdown, source.relative_to(ROOT).as_posix())


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Draw the equations."""
    return drawn(content)
