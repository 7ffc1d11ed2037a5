"""The CSS properties that mail may use, each with the forms that its value may have.

None can load something (background images, list-style-image, cursor, content, filter), leave its place (position,
z-index, transform, negative margins) or paint outside of its box (shadows, outlines, a thick underline).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from tinycss2.ast import LiteralToken, Node

from services.gateway.html.css_values import (
    LARGEST_FONT,
    Form,
    colour,
    family_word,
    first_stop,
    keyword,
    length,
    line_height,
    number,
)

type Declarations = Mapping[str, str]
# Both are given the values without white space and comments.
type Grammar = Callable[[Sequence[Node]], str | None]
type Shorthand = Callable[[Sequence[Node]], Declarations]

# In pixels: more than mail for people has.
_SIZE, _SPACE, _BORDER = length(2_000), length(500), length(100)
_BORDER_WIDTH = (keyword("thin", "medium", "thick"), _BORDER)
_BORDER_STYLE = keyword(
    *("none", "hidden", "solid", "dotted", "dashed", "double", "groove", "ridge", "inset", "outset"),
)
_FONT_STYLE = keyword("normal", "italic", "oblique")
_FONT_VARIANT = keyword("normal", "small-caps")
_FONT_WEIGHT = (keyword("normal", "bold", "bolder", "lighter"), number(1, 1000))
_FONT_STRETCH = keyword(
    *("normal", "condensed", "semi-condensed", "extra-condensed", "ultra-condensed"),
    *("expanded", "semi-expanded", "extra-expanded", "ultra-expanded"),
)
_FONT_SIZE = (
    keyword("xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "smaller", "larger"),
    length(LARGEST_FONT, percent=500),
)
_LIST_TYPE = keyword(
    *("none", "disc", "circle", "square", "decimal", "decimal-leading-zero", "lower-roman", "upper-roman"),
    *("lower-alpha", "upper-alpha", "lower-latin", "upper-latin", "lower-greek"),
)
_LIST_POSITION = keyword("inside", "outside")
_SIDES = ("top", "right", "bottom", "left")


def _first(forms: Sequence[Form], token: Node) -> str | None:
    return next(filter(None, (form(token) for form in forms)), None)


def _some(most: int, *forms: Form) -> Grammar:
    """Allow up to `most` values of these forms."""

    def grammar(tokens: Sequence[Node]) -> str | None:
        values = [_first(forms, token) for token in tokens]
        return " ".join(filter(None, values)) if values and all(values) and len(values) <= most else None

    return grammar


def _one(*forms: Form) -> Grammar:
    return _some(1, *forms)


def _keyword(*words: str) -> Grammar:
    return _one(keyword(*words))


def _is(token: Node, sign: str) -> bool:
    return isinstance(token, LiteralToken) and token.value == sign


def _radius(tokens: Sequence[Node]) -> str | None:
    """Allow up to four radii, and after a slash up to four vertical ones."""
    groups = [list(group) for is_slash, group in groupby(tokens, lambda token: _is(token, "/")) if not is_slash]
    radii = [_some(4, length(10_000))(group) for group in groups]
    return "/".join(filter(None, radii)) if all(radii) and 1 <= len(radii) <= 2 else None


def _families(tokens: Sequence[Node]) -> str | None:
    """Return the families of the list that have plain names."""
    groups = [list(group) for is_comma, group in groupby(tokens, lambda token: _is(token, ",")) if not is_comma]
    return ",".join(filter(None, map(_some(6, family_word), groups))) or None


def _plain_background(tokens: Sequence[Node]) -> Declarations:
    """Return the colour of a background or of its gradient: without it, the text could not be read."""
    found = next(filter(None, map(colour, tokens)), None) or next(filter(None, map(first_stop, tokens)), None)
    if found is None and any(map(keyword("none"), tokens)):
        found = "transparent"
    return {"background-color": found} if found else {}


def _font(tokens: Sequence[Node]) -> Declarations:
    """Return all properties that the shorthand sets; those that it leaves out are normal (CSS Fonts 4, 2.7)."""
    at = next((at for at, token in enumerate(tokens) if _first(_FONT_SIZE, token)), len(tokens))
    styles = dict(_font_styles(tokens[:at]))
    rest = tokens[at + 1 :]
    line = "normal"
    if rest and _is(rest[0], "/"):
        line, rest = line_height(rest[1]) or "normal" if rest[1:] else "normal", rest[2:]
    families = _families(rest)
    if at == len(tokens) or families is None:
        return {}
    size = _first(_FONT_SIZE, tokens[at]) or ""
    normal = dict.fromkeys(("font-style", "font-variant", "font-weight"), "normal")
    return {**normal, **styles, "font-size": size, "line-height": line, "font-family": families}


def _font_styles(words: Sequence[Node]) -> Iterator[tuple[str, str]]:
    forms = {
        "font-style": (_FONT_STYLE,), "font-variant": (_FONT_VARIANT,), "font-weight": _FONT_WEIGHT,
        "font-stretch": (_FONT_STRETCH,),
    }  # fmt: skip
    for word in words:
        for name, allowed in forms.items():
            value = _first(allowed, word)
            if value is not None and value != "normal":
                yield name, value


SHORTHANDS: Mapping[str, Shorthand] = {
    "background": _plain_background,
    "background-image": _plain_background,
    "font": _font,
}
"""Properties that are written as others."""

INHERITED = keyword("inherit", "initial", "unset")
"""The values that any property may have."""

PROPERTIES: Mapping[str, Grammar] = {
    "color": _one(colour),
    "background-color": _one(colour),
    "opacity": _one(number(0, 1)),
    "direction": _keyword("ltr", "rtl"),
    "unicode-bidi": _keyword("normal", "embed", "isolate", "bidi-override", "isolate-override", "plaintext"),
    "vertical-align": _one(
        keyword("baseline", "sub", "super", "top", "text-top", "middle", "bottom", "text-bottom"), length(100)
    ),
    "display": _keyword(
        *("none", "inline", "block", "inline-block", "list-item", "flex", "inline-flex", "table", "inline-table"),
        *("table-row", "table-cell", "table-row-group", "table-header-group", "table-footer-group"),
        *("table-column", "table-column-group", "table-caption"),
    ),
    "visibility": _keyword("visible", "hidden", "collapse"),
    "overflow": _some(2, keyword("visible", "hidden", "auto", "scroll")),
    "box-sizing": _keyword("border-box", "content-box"),
    "font-family": _families,
    "font-size": _one(*_FONT_SIZE),
    "font-style": _one(_FONT_STYLE),
    "font-variant": _one(_FONT_VARIANT),
    "font-weight": _one(*_FONT_WEIGHT),
    "font-stretch": _one(_FONT_STRETCH),
    "line-height": _one(line_height),
    "text-align": _keyword("left", "right", "center", "justify", "start", "end"),
    "text-decoration": _some(
        4,
        keyword("none", "underline", "overline", "line-through", "solid", "double", "dotted", "dashed", "wavy"),
        colour,
    ),
    "text-indent": _one(_SPACE),
    "text-transform": _keyword("none", "capitalize", "uppercase", "lowercase", "full-width"),
    "text-overflow": _keyword("clip", "ellipsis"),
    "letter-spacing": _one(keyword("normal"), length(50)),
    "word-spacing": _one(keyword("normal"), length(50)),
    "white-space": _keyword("normal", "nowrap", "pre", "pre-wrap", "pre-line", "break-spaces"),
    "word-break": _keyword("normal", "break-all", "keep-all", "break-word"),
    "word-wrap": _keyword("normal", "break-word", "anywhere"),
    "overflow-wrap": _keyword("normal", "break-word", "anywhere"),
    "float": _keyword("left", "right", "none"),
    "clear": _keyword("left", "right", "both", "none"),
    "quotes": _keyword("none", "auto"),
    **dict.fromkeys(("width", "height", "min-width", "min-height"), _one(keyword("auto"), _SIZE)),
    **dict.fromkeys(("max-width", "max-height"), _one(keyword("none"), _SIZE)),
    "table-layout": _keyword("auto", "fixed"),
    "empty-cells": _keyword("show", "hide"),
    "caption-side": _keyword("top", "bottom"),
    "list-style": _some(2, _LIST_TYPE, _LIST_POSITION),
    "list-style-type": _one(_LIST_TYPE),
    "list-style-position": _one(_LIST_POSITION),
    "padding": _some(4, _SPACE),
    **dict.fromkeys((f"padding-{side}" for side in _SIDES), _one(_SPACE)),
    "margin": _some(4, keyword("auto"), _SPACE),
    **dict.fromkeys((f"margin-{side}" for side in _SIDES), _one(keyword("auto"), _SPACE)),
    "border-collapse": _keyword("collapse", "separate"),
    "border-spacing": _some(2, _BORDER),
    "border-radius": _radius,
    **dict.fromkeys(
        ("border", *(f"border-{side}" for side in _SIDES)), _some(3, *_BORDER_WIDTH, _BORDER_STYLE, colour)
    ),
    "border-width": _some(4, *_BORDER_WIDTH),
    "border-style": _some(4, _BORDER_STYLE),
    "border-color": _some(4, colour),
    **dict.fromkeys((f"border-{side}-width" for side in _SIDES), _one(*_BORDER_WIDTH)),
    **dict.fromkeys((f"border-{side}-style" for side in _SIDES), _one(_BORDER_STYLE)),
    **dict.fromkeys((f"border-{side}-color" for side in _SIDES), _one(colour)),
}
"""Properties with one value."""
