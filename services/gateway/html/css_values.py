"""Forms of single CSS values that keep an element in its place. Each writes a value of its form anew.

Nothing is copied, so that no browser can read a value in another way. A computed length (calc, min, round and others),
a negative or a huge one has no form. Source: https://www.w3.org/TR/css-values-4/
"""

import re
from collections.abc import Callable, Mapping

from tinycss2.ast import (
    CurlyBracketsBlock,
    DimensionToken,
    FunctionBlock,
    HashToken,
    IdentToken,
    Node,
    NumberToken,
    ParenthesesBlock,
    PercentageToken,
    SquareBracketsBlock,
    StringToken,
)
from tinycss2.color4 import Color, parse_color

type Form = Callable[[Node], str | None]
"""A function that returns the value as it is shown, or None for one that is not allowed."""

LARGEST_FONT = 200.0
"""Pixels of the largest letters."""

_ABSOLUTE: Mapping[str, float] = {
    "px": 1, "pt": 4 / 3, "pc": 16, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4, "q": 96 / 101.6
}  # fmt: skip
# For a font of the usual 16 pixels.
_RELATIVE: Mapping[str, float] = {"em": 16, "rem": 16, "ex": 8, "ch": 8}
_PIXELS: Mapping[str, float] = {**_ABSOLUTE, **_RELATIVE}
_BRACKETS = (FunctionBlock, ParenthesesBlock, SquareBracketsBlock, CurlyBracketsBlock)
_SMALL_FONT = 14.0
_HIGHEST_LINE = 15.0
# A family's name, without characters that could end a string or a declaration.
_NAME = re.compile(r"[^\W_][\w .+&-]{0,60}")


def number_text(value: float) -> str:
    """Return a number as CSS writes it, without an exponent or the sign of -0."""
    return f"{value + 0.0:.4f}".rstrip("0").rstrip(".")


def keyword(*words: str) -> Form:
    """Allow one of these words."""
    allowed = frozenset(words)

    def form(token: Node) -> str | None:
        return token.lower_value if isinstance(token, IdentToken) and token.lower_value in allowed else None

    return form


def number(least: float, most: float) -> Form:
    """Allow a number without a unit."""

    def form(token: Node) -> str | None:
        fits = isinstance(token, NumberToken) and least <= token.value <= most
        return number_text(token.value) if isinstance(token, NumberToken) and fits else None

    return form


def length(most: float, *, percent: float = 100) -> Form:
    """Allow a length of up to `most` pixels or so many percent; only 0 may lack a unit."""

    def form(token: Node) -> str | None:
        match token:
            case NumberToken(value=0):
                return "0"
            case PercentageToken(value=value) if 0 <= value <= percent:
                return f"{number_text(value)}%"
            case DimensionToken(value=value, lower_unit=unit) if 0 <= value * _PIXELS.get(unit, -1) <= most:
                return f"{number_text(value)}{unit}"
            case _:
                return None

    return form


def line_height(token: Node) -> str | None:
    """Return the height of a line, at least that of its letters: letters of a lower line paint above it.

    A length does not say how large the letters are; one below 14 pixels is taken for a line without space around it.
    """
    match token:
        case IdentToken(lower_value="normal"):
            return "normal"
        case NumberToken(value=value):
            lines, unit = value, ""
        case PercentageToken(value=value):
            lines, unit = value / 100, "%"
        case DimensionToken(value=value, lower_unit=unit) if unit in _RELATIVE:
            lines = value * _RELATIVE[unit] / _RELATIVE["em"]
        case DimensionToken(value=value, lower_unit=unit) if unit in _ABSOLUTE:
            lines = value * _ABSOLUTE[unit] / _SMALL_FONT
        case _:
            return None
    if not 0 <= lines <= _HIGHEST_LINE:
        return None
    return "1" if lines < 1 else f"{number_text(value)}{unit}"


def colour(token: Node) -> str | None:
    """Return a colour: a name, a hash, or a function of plain numbers."""
    if not isinstance(token, IdentToken | HashToken | FunctionBlock):
        return None
    # Brackets within a function are no plain numbers, and thousands of them exceed the depth of Python's calls.
    if isinstance(token, FunctionBlock) and any(isinstance(part, _BRACKETS) for part in token.arguments):
        return None
    parsed = parse_color(token.serialize())
    if parsed is None:
        return None
    if isinstance(token, HashToken):
        return f"#{token.value}"
    if isinstance(token, IdentToken):
        return token.lower_value
    return _rgb(parsed) if isinstance(parsed, Color) else None


def _rgb(parsed: Color) -> str | None:
    try:
        *channels, alpha = (part or 0 for part in parsed.to("srgb"))
    except NotImplementedError:  # lab() and others, which mail is not written with
        return None
    plain = ",".join(str(round(255 * min(max(channel, 0), 1))) for channel in channels)
    return f"rgb({plain})" if alpha == 1 else f"rgba({plain},{number_text(alpha)})"


def first_stop(token: Node) -> str | None:
    """Return the first colour of a gradient, as the plain background nearest to it."""
    if not isinstance(token, FunctionBlock) or not token.lower_name.endswith("gradient"):
        return None
    return next(filter(None, map(colour, token.arguments)), None)


def family_word(token: Node) -> str | None:
    """Return a font family in quotation marks, or one word of a name without."""
    match token:
        case StringToken(value=name) if _NAME.fullmatch(name):
            return f"'{name}'"
        case IdentToken(value=name) if _NAME.fullmatch(name.lstrip("-")) and " " not in name:
            return token.serialize()
        case _:
            return None
