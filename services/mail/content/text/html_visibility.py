"""Elements of an HTML document that hide their text by their own attributes, as preheaders and spam do.

Style sheets are not read: mail programs differ in what they apply, and a text that is shown somewhere is worth finding.
"""

import html
import re
from collections import Counter
from dataclasses import dataclass

_LOWER_STYLE = re.compile(r"""style\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)'|([^\s"'>]+))""")
_STYLE = re.compile(_LOWER_STYLE.pattern, re.IGNORECASE)
# What may hide text, in styles that are joined by line breaks; the last ones disguise a declaration.
_MAY_HIDE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*[hc]|opacity\s*:\s*[0.]|height\s*:\s*[0.]|width\s*:\s*[0.]"
    r"|font-size\s*:\s*(?:[0.]|1(?:p|\s*[;\n]))|/\*|&"
)
_SAME_COLOUR = re.compile(
    r"(?:background-)?color\s*:\s*([^;\s]+)\s*;[^\n]{0,400}?(?:(?<!-)color|background(?:-color)?)\s*:\s*\1\s*[;\n]"
    r"|background\s*:\s*([^;\s]+)\s*;[^\n]{0,400}?(?<!-)color\s*:\s*\2\s*[;\n]"
)
_QUOTED = re.compile(r""""[^"]*"|'[^']*'""")
_HIDDEN_WORD = re.compile(r"hidden[\s=>/]")
_HIDDEN_ATTRIBUTE = re.compile(r"(?<![\w-])hidden(?![\w-])", re.IGNORECASE)
_CSS_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_LENGTH = re.compile(r"([\d.]+)\s*([a-z%]*)")
_SHEET_WITH_SIZES = re.compile(r"<style\b[^<]*font-size")
_SETS_SIZE = re.compile(r"\bclass\s*=", re.IGNORECASE)
_SETS_COLOUR = re.compile(r"\b(?:color|bgcolor|size)\s*=", re.IGNORECASE)
_VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"),
}
# Elements that a tag ends without their own end tag, and those that keep outer ones from being ended.
_PARAGRAPH, _CELL, _TERM = frozenset({"p"}), frozenset({"td", "th"}), frozenset({"dt", "dd"})
_ENDED_BY = {
    **dict.fromkeys(("p", "div", "table", "ul", "ol", "dl", "pre", "blockquote", "center", "form", "hr"), _PARAGRAPH),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "header", "footer"), _PARAGRAPH),
    **dict.fromkeys(_CELL, _CELL),
    **dict.fromkeys(_TERM, _TERM),
    "tr": frozenset({"tr"}),
    "li": frozenset({"li"}),
}
_OPTIONAL_END = {*_PARAGRAPH, *_CELL, *_TERM, "tr", "li"}
_SCOPES = {"table", "ul", "ol", "dl", "body", "html"}
# A box that is clipped to no height or width is not shown; parts of tables grow with their content.
_EXTENTS = ("max-height", "height", "width")
_GROW = {"table", "tbody", "thead", "tfoot", "tr", "td", "th"}
_DEEPEST_IMPLIED_END = 16


@dataclass(frozen=True, slots=True)
class _Element:
    """An open element: whether nothing in it is shown, and whether its text is too faint until a style says more."""

    name: str
    is_hidden: bool
    is_faint: bool


def may_hide(lower_source: str) -> bool:
    """Return whether anything in a document, given in lower case, can hide text: in nearly all nothing does."""
    if any(lower_source[word.start() - 1].isspace() for word in _HIDDEN_WORD.finditer(lower_source)):
        return True
    if "style" not in lower_source:
        return False
    styles = "\n".join(map("".join, _LOWER_STYLE.findall(lower_source))) + "\n"
    if _MAY_HIDE.search(styles):
        return True
    return "background" in styles and _SAME_COLOUR.search(_shorten_colours(styles)) is not None


class Visibility:
    """Follows the tags of a document and knows whether text at the present place is shown. Linear in their number."""

    def __init__(self, lower_source: str) -> None:
        self._open: list[_Element] = []
        self._counts: Counter[str] = Counter()
        self._never_closed: dict[str, bool] = {}
        self._source = lower_source
        self._sheet_has_sizes = _SHEET_WITH_SIZES.search(lower_source) is not None

    @property
    def is_shown(self) -> bool:
        return not self._open or not (self._open[-1].is_hidden or self._open[-1].is_faint)

    def enter(self, name: str, attributes: str) -> bool:
        """Note a start tag, and return whether its own mark (a line break, an image's text) is shown."""
        self._end_implied(name)
        style = _read_style(attributes)
        hides = _hides(style) or (name not in _GROW and _is_clipped(style)) or _has_hidden_attribute(attributes)
        if name in _VOID:
            return self.is_shown and not hides
        # An element that is never closed, though it has to be, hides nothing.
        hides = hides and (name in _OPTIONAL_END or not self._is_never_closed(name))
        outer = self._open[-1] if self._open else _Element("", is_hidden=False, is_faint=False)
        is_faint = _is_faint(style) or (outer.is_faint and not self._shows_again(name, attributes, style))
        self._open.append(_Element(name, is_hidden=outer.is_hidden or hides, is_faint=is_faint))
        self._counts[name] += 1
        return self.is_shown

    def leave(self, name: str) -> bool:
        """Note an end tag, and return whether its own mark is shown."""
        was_shown = self.is_shown
        if self._counts[name]:
            while self._pop() != name:
                pass
        return was_shown

    def _pop(self) -> str:
        name = self._open.pop().name
        self._counts[name] -= 1
        return name

    def _end_implied(self, name: str) -> None:
        ended = _ENDED_BY.get(name)
        if ended is None:
            return
        for depth, element in enumerate(reversed(self._open[-_DEEPEST_IMPLIED_END:]), 1):
            if element.name in ended:
                for _ in range(depth):
                    self._pop()
                return
            if element.name in _SCOPES:
                return

    def _is_never_closed(self, name: str) -> bool:
        if name not in self._never_closed:
            self._never_closed[name] = f"</{name}" not in self._source
        return self._never_closed[name]

    def _shows_again(self, name: str, attributes: str, style: dict[str, str]) -> bool:
        """Return whether an element within a faint one may be readable; tables inherit no size in quirks mode."""
        if name == "table" or "font-size" in style or "font" in style or "color" in style:
            return True
        if self._sheet_has_sizes and _SETS_SIZE.search(attributes):
            return True
        return _SETS_COLOUR.search(_QUOTED.sub("", attributes)) is not None


def _read_style(attributes: str) -> dict[str, str]:
    """Read the declarations of a style attribute, in lower case; the last of a name wins."""
    if "style" not in attributes and "STYLE" not in attributes and "Style" not in attributes:
        return {}
    match = _STYLE.search(attributes)
    value = next((group for group in match.groups() if group), "") if match else ""
    if "&" in value:
        value = html.unescape(value)
    if "/*" in value:
        value = _CSS_COMMENT.sub("", value)
    declarations = {}
    for declaration in value.lower().split(";"):
        name, _, content = declaration.partition(":")
        declarations[name.strip()] = content.replace("!important", "").strip()
    return declarations


def _has_hidden_attribute(attributes: str) -> bool:
    return "hidden" in attributes.lower() and _HIDDEN_ATTRIBUTE.search(_QUOTED.sub("", attributes)) is not None


def _hides(style: dict[str, str]) -> bool:
    if style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse"):
        return True
    return "opacity" in style and _is_zero(style["opacity"])


def _is_clipped(style: dict[str, str]) -> bool:
    return style.get("overflow") in ("hidden", "clip") and any(_is_zero(style.get(name, "")) for name in _EXTENTS)


def _is_zero(value: str) -> bool:
    length = _LENGTH.fullmatch(value)
    return length is not None and not length.group(1).strip("0.")


def _is_faint(style: dict[str, str]) -> bool:
    """Return whether text has no size worth the name, or the colour of its background."""
    size = _LENGTH.fullmatch(style.get("font-size", ""))
    if size and (not size.group(1).strip("0.") or (size.group(1) == "1" and size.group(2) in ("px", "pt", ""))):
        return True
    colour = _shorten_colours(style.get("color", ""))
    return bool(colour) and colour == _shorten_colours(style.get("background-color", style.get("background", "")))


def _shorten_colours(value: str) -> str:
    """Write the usual colours of a page in their shortest form, without space."""
    value = value.replace(", ", ",").replace("rgb(255,255,255)", "#fff").replace("rgb(0,0,0)", "#000")
    return value.replace("#ffffff", "#fff").replace("white", "#fff").replace("#000000", "#000").replace("black", "#000")
