"""The attributes that mail may have, each with the values that it may have."""

import re
from collections.abc import Callable, Mapping

type Form = Callable[[str], str | None]
"""A function that returns the value as it is shown, or None for one that is not allowed."""

# In pixels, as of the style properties.
_WIDEST, _WIDEST_SPACE = 2_000, 100
_EXTENT = re.compile(r"(\d{1,4}(?:\.\d{1,4})?)(%|px)?")


def _text(value: str) -> str:
    return value


def _flag(_: str) -> str:
    return ""


def _one_of(*words: str) -> Form:
    allowed = frozenset(words)
    return lambda value: value if value.strip().lower() in allowed else None


def _matching(pattern: str) -> Form:
    form = re.compile(pattern)
    return lambda value: value if form.fullmatch(value.strip()) else None


def _extent(most: float) -> Form:
    """Allow pixels or percent, neither negative nor huge."""

    def form(value: str) -> str | None:
        match = _EXTENT.fullmatch(value.strip())
        return value if match and float(match[1]) <= (100 if match[2] == "%" else most) else None

    return form


_COLOUR = _matching(r"#?[0-9A-Fa-f]{3,8}|[A-Za-z]{3,24}")
FORMS: Mapping[str, Form] = {
    "align": _one_of(
        "left", "right", "center", "justify", "top", "middle", "bottom", "baseline", "absmiddle", "texttop"
    ),
    "valign": _one_of("top", "middle", "bottom", "baseline"),
    "dir": _one_of("ltr", "rtl", "auto"),
    "lang": _matching(r"[A-Za-z0-9-]{1,35}"),
    **dict.fromkeys(("title", "alt", "summary", "datetime"), _text),
    **dict.fromkeys(("nowrap", "reversed"), _flag),
    **dict.fromkeys(("color", "bgcolor"), _COLOUR),
    "face": _matching(r"[\w ,.'\"&+-]{1,200}"),
    "size": _matching(r"[+-]?[1-7]"),
    **dict.fromkeys(("width", "height"), _extent(_WIDEST)),
    **dict.fromkeys(("border", "hspace", "vspace", "cellpadding", "cellspacing"), _extent(_WIDEST_SPACE)),
    **dict.fromkeys(("colspan", "rowspan", "span"), _matching(r"[1-9]\d{0,2}")),
    **dict.fromkeys(("start", "value"), _matching(r"-?\d{1,6}")),
    "type": _one_of("1", "a", "i", "disc", "circle", "square"),
    "scope": _one_of("row", "col", "rowgroup", "colgroup"),
}
"""By attribute; `style`, `href` and `src` have rules of their own."""

_LAYOUT = {"align", "valign", "width", "height", "bgcolor"}
ATTRIBUTES: Mapping[str, set[str]] = {
    "*": {"style", "dir", "lang", "title"},
    "a": {"href"},
    "img": {"src", "alt", "border", "hspace", "vspace"} | _LAYOUT,
    "font": {"color", "face", "size"},
    "table": {"border", "cellpadding", "cellspacing", "summary"} | _LAYOUT,
    "td": {"colspan", "rowspan", "nowrap"} | _LAYOUT,
    "th": {"colspan", "rowspan", "nowrap", "scope"} | _LAYOUT,
    "col": {"span"} | _LAYOUT,
    "colgroup": {"span"} | _LAYOUT,
    "ol": {"start", "type", "reversed"},
    "ul": {"type"},
    "li": {"value"},
    "time": {"datetime"},
    **dict.fromkeys(("tr", "tbody", "thead", "tfoot", "div", "p", "hr", "h1", "h2", "h3", "h4", "h5", "h6"), _LAYOUT),
}
"""By element; * is any."""
