"""A picture of a terminal's screen (SVG), without fonts and anything else from elsewhere."""

from html import escape
from itertools import groupby

import pyte
from pyte.screens import Char

# Pixels of a cell, and around the text.
_WIDTH, _HEIGHT, _MARGIN = 8, 19, 16
# SVG collapses others.
_SPACE = "\N{NO-BREAK SPACE}"
_COLOURS = {
    "default": "#d8dee9",
    "red": "#e5737d",
    "green": "#8fc98f",
    "brown": "#e0bd6b",
    "blue": "#7fa8e0",
    "magenta": "#c79ad6",
    "cyan": "#76c7c7",
}


def svg_of(screen: pyte.Screen, *, lines: int) -> str:
    """Return the picture of the first lines of a screen."""
    width, height = 2 * _MARGIN + screen.columns * _WIDTH, 2 * _MARGIN + lines * _HEIGHT
    rows = [_row(screen, number) for number in range(lines)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#20242c"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13.3">',
        *filter(None, rows),
        "</g>",
        "</svg>\n",
    ])  # fmt: skip


def _row(screen: pyte.Screen, number: int) -> str:
    cells = [screen.buffer[number][column] for column in range(screen.columns)]
    y, x, texts = _MARGIN + (number + 1) * _HEIGHT - 5, _MARGIN, []
    for (colour, is_bold), run in groupby(cells, key=_look):
        text = "".join(cell.data for cell in run)
        if shown := text.rstrip():
            weight = ' font-weight="bold"' if is_bold else ""
            place = f'x="{x}" y="{y}" textLength="{len(shown) * _WIDTH}" fill="{colour}"{weight}'
            texts.append(f"<text {place}>{escape(shown.replace(' ', _SPACE))}</text>")
        x += len(text) * _WIDTH
    return "".join(texts)


def _look(cell: Char) -> tuple[str, bool]:
    return _COLOURS.get(cell.fg, f"#{cell.fg}"), cell.bold
