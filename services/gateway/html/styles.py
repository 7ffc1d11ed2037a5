"""A style attribute written anew from the declarations that keep an element in its place."""

import re
from collections.abc import Iterator
from functools import lru_cache

import tinycss2
from tinycss2.ast import Declaration

from services.gateway.html.css_properties import INHERITED, PROPERTIES, SHORTHANDS

LONGEST_STYLE = 4_000
"""Characters of a style attribute; a longer one is dropped. (Python reads no number of more than 4,300 digits.)"""

# A declaration in whose strings and brackets nothing is open or escaped: a semicolon ends it and nothing else does.
_PLAIN = r"""[^;"'()\[\]{}\\/]++|/(?!\*)|"[^"\\\n]*+"|'[^'\\\n]*+'|\([^;"'()\[\]{}\\/]*+\)"""
_PART = re.compile(rf"(?:{_PLAIN})+")
_PARTS = re.compile(rf"(?:{_PLAIN}|;)*+")
# Longer declarations seldom repeat.
_LONGEST_REMEMBERED = 200
# Elements that grow with their contents whatever their height is, or have no contents.
_HEIGHT_HOLDS = frozenset(("img", "hr", "table", "thead", "tbody", "tfoot", "tr", "td", "th", "col", "colgroup"))
_NOT_INHERITED = frozenset(("float", "height", "max-height", "overflow"))

type _Declared = tuple[tuple[str, str], ...]


def safe_style(style: str, *, tag: str) -> str:
    """Return the allowed declarations of a style attribute, in their normal form; `tag` is the element's."""
    if len(style) > LONGEST_STYLE:
        return ""
    found: dict[str, str] = {}
    for part in _PART.findall(style) if _PARTS.fullmatch(style) else (style,):
        for name, value in _remembered(part) if len(part) <= _LONGEST_REMEMBERED else _declared(part):
            found.pop(name, None)  # the last one counts, at its place
            found[name] = value
    if found:
        _keep_in_place(found, tag)
    return ";".join(f"{name}:{value}" for name, value in found.items())


def _declared(text: str) -> _Declared:
    parsed = tinycss2.parse_blocks_contents(text, skip_comments=True, skip_whitespace=True)
    return tuple(pair for node in parsed if isinstance(node, Declaration) for pair in _allowed(node))


# The declarations of mail repeat: parsing one takes 20 microseconds.
_remembered = lru_cache(1 << 13)(_declared)


def _allowed(declaration: Declaration) -> Iterator[tuple[str, str]]:
    """Yield the properties that a declaration sets. `!important` is left out: it would overrule the page."""
    name, tokens = declaration.lower_name, declaration.value
    words = [token for token in tokens if token.type not in ("whitespace", "comment")]
    if name in SHORTHANDS:
        yield from SHORTHANDS[name](words).items()
    elif name in PROPERTIES:
        inherited = INHERITED(words[0]) if len(words) == 1 and name not in _NOT_INHERITED else None
        value = inherited or PROPERTIES[name](words)
        if value is not None:
            yield name, value


def _keep_in_place(found: dict[str, str], tag: str) -> None:
    """Change declarations that are harmless alone, but not together."""
    if found.get("float") in ("left", "right"):
        # A float that is wider than its container sticks out of it, to the left as well.
        found.pop("min-width", None)
        found.pop("max-width", None)
        found["max-width"] = "100%"
    line, font = (_pixels(found.get(name, "")) for name in ("line-height", "font-size"))
    if line is not None and font is not None and line < font:
        found["line-height"] = "1"
    if tag not in _HEIGHT_HOLDS and found.get("overflow", "visible").startswith("visible"):
        # Contents that are higher than their box cover what follows.
        height = found.pop("height", None)
        if height is not None:
            found.setdefault("min-height", height)
        found.pop("max-height", None)


def _pixels(value: str) -> float | None:
    return float(value.removesuffix("px")) if value.endswith("px") else None
