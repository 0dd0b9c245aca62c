"""`python -m tools.blocks`: write `docs/blocks.svg`, the picture of the Q-blocks in series."""

from __future__ import annotations

from tools import ROOT

PICTURE = ROOT / "docs/blocks.svg"
LEVELS = 4
_WIDTH, _HEIGHT = 760, 250
_LEFT, _STEP = 75, 165  # of the first block, and from each to the next
_BOX = (105, 70)
_TOP, _SUM = 45, 185  # of the blocks, and of the line of sums
_STYLE = """
  text { font: 14px sans-serif; text-anchor: middle; fill: #222 }
  .small { font-size: 12px; fill: #555 }
  rect { fill: #eef3fa; stroke: #4a6fa5 }
  circle { fill: #fff; stroke: #4a6fa5 }
  path { stroke: #4a6fa5; fill: none; marker-end: url(#end) }
"""


def _text(x: float, y: float, content: str, small: bool = False) -> str:
    kind = ' class="small"' if small else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}>{content}</text>'


def _indexed(letter: str, level: int) -> str:
    return f'{letter}<tspan dy="-5" font-size="10">{level}</tspan>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}"/>'


def _block(level: int) -> list[str]:
    """One block: its box, the residual that comes in, the codeword that goes to the sum, and the sum."""
    width, height = _BOX
    left = _LEFT + _STEP * (level - 1)
    middle, centre = _TOP + height / 2, left + width / 2
    before = left - (_STEP - width) if level > 1 else 15
    arriving = _indexed("r", level) if level > 1 else "x"
    parts = [
        f'<rect x="{left}" y="{_TOP}" width="{width}" height="{height}" rx="6"/>',
        _text(centre, _TOP + 30, f"block {level}"),
        _text(centre, _TOP + 50, "nearest of K", small=True),
        _arrow(before, middle, left - 3, middle),
        _text((before + left) / 2, middle - 9, arriving),
        _text(centre, _TOP - 12, f"code {_indexed('b', level)}", small=True),
        _arrow(centre, _TOP + height, centre, _SUM - 15),
        _text(centre + 14, (_TOP + height + _SUM - 12) / 2, _indexed("h", level)),
        f'<circle cx="{centre:g}" cy="{_SUM}" r="12"/>',
        _text(centre, _SUM + 5, "+"),
        _text(centre, _SUM + 35, _indexed("H", level)),
        _text(centre, _SUM + 53, f"{8 * level} bits", small=True),
    ]
    onward = centre + (_STEP - 15 if level < LEVELS else 70)
    return [*parts, _arrow(centre + 12, _SUM, onward, _SUM)]


def picture() -> str:
    """The picture's text: what is left goes from block to block, and the chosen codewords add up below."""
    blocks = [part for level in range(1, LEVELS + 1) for part in _block(level)]
    marker = '<marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f"<style>{_STYLE}</style>",
        f'<defs>{marker}<polygon points="0 0 8 4 0 8" fill="#4a6fa5"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" style="fill: #fff; stroke: none"/>',
    ]
    return "\n".join([*head, *blocks, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
