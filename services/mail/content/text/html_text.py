"""Text of an HTML body. One pass over the tags, linear in the input whatever it contains."""

import html
import re

from services.mail.content.text.clean import clean_text
from services.mail.content.text.html_visibility import Visibility, may_hide

_RAW = {"script", "style"}
_HIDDEN = {"title", "template", "xml", "noembed", "noframes", "object", "applet", "svg"}
_PARAGRAPHS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "dl", "table", "pre")
_LINES = (
    *("br", "div", "tr", "section", "article", "header", "footer", "center", "form", "fieldset", "address", "dt", "dd"),
    *("figure", "main", "nav", "aside", "tbody", "thead", "caption", "option", "body", "html", "head"),
)
_CELLS = ("td", "th")
# The white space or dash that stands for a start or end tag.
_MARKS = {
    slash + name: mark
    for slash in ("", "/")
    for names, mark in ((_PARAGRAPHS, "\n\n"), (_LINES, "\n"), (_CELLS, " "))
    for name in names
} | {"hr": "\n\n", "li": "\n- "}
_TAG_NAME = re.compile(r"/?[a-zA-Z][^\s/>]*")
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_LINKED = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
_LONGEST_LINK = 200
_BLANK_LINES = re.compile(r"\n{3,}")


def html_to_text(source: str) -> str:
    """Extract the visible text: blocks on lines of their own, list items with a dash, links as `text (address)`.

    Scripts, styles, titles and elements that their attributes hide are dropped. Links above 200 characters are left
    out: those are tracking addresses.
    """
    text = "".join(_Reader().read(source))
    lines = (" ".join(line.split()) for line in html.unescape(text).split("\n"))
    return _BLANK_LINES.sub("\n\n", clean_text("\n".join(lines))).strip()


class _Reader:
    """Collects text; remembers which element is being dropped and which link is open."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._dropped = _RAW
        self._dropping = ""
        self._in_pre = 0
        self._link = ""
        self._link_start = 0
        # None where nothing in the document can hide text.
        self._visibility: Visibility | None = None

    def read(self, source: str) -> list[str]:
        lower = source.lower()
        # An element that is never closed hides nothing.
        self._dropped = _RAW | {name for name in _HIDDEN if "</" + name in lower}
        self._visibility = Visibility(lower) if may_hide(lower) else None
        chunks = source.split("<")
        self._add(chunks[0])
        for chunk in chunks[1:]:
            self._read_chunk(chunk)
        self._close_link()
        return self._out

    def _read_chunk(self, chunk: str) -> None:
        """Read the text between one `<` and the next: a tag and the text behind it, or text with a bare `<`."""
        if self._dropping == "!--":
            self._end_comment(chunk)
            return
        name = _TAG_NAME.match(chunk)
        if name:
            self._read_tag(name.group().lower(), chunk)
        elif self._dropping:
            return
        elif chunk.startswith("!--"):
            self._dropping = "!--"
            self._end_comment(chunk[3:])
        elif chunk[:1] in ("!", "?", "/"):
            self._add(chunk.partition(">")[2])
        else:
            self._add("&lt;" + chunk)

    def _end_comment(self, chunk: str) -> None:
        end = chunk.find("-->")
        if end >= 0 or chunk.startswith((">", "->")):
            self._dropping = ""
            self._add(chunk[end + 3 :] if end >= 0 else chunk.partition(">")[2])

    def _read_tag(self, name: str, chunk: str) -> None:
        attributes, text = _split_tag(chunk, len(name))
        if self._dropping:
            if name != "/" + self._dropping:
                return
            self._dropping = ""
        elif name in self._dropped and not attributes.endswith("/"):
            self._dropping = name
            return
        elif self._visibility is None or self._follow(self._visibility, name, attributes):
            self._mark(name, attributes)
        self._add(text)

    def _follow(self, visibility: Visibility, name: str, attributes: str) -> bool:
        """Note a tag, and return whether its own mark is shown."""
        return visibility.leave(name[1:]) if name[0] == "/" else visibility.enter(name, attributes)

    def _mark(self, name: str, attributes: str) -> None:
        """Write the white space, dash or address that stands for a tag."""
        mark = _MARKS.get(name)
        if mark is not None:
            self._out.append(mark)
        elif name == "a":
            self._close_link()
            self._open_link(attributes)
        elif name == "/a":
            self._close_link()
        elif name == "img":
            self._out.append(_attribute(_ALT, attributes))
        if name == "pre":
            self._in_pre += 1
        elif name == "/pre":
            self._in_pre = max(0, self._in_pre - 1)

    def _open_link(self, attributes: str) -> None:
        address = _attribute(_HREF, attributes).strip()
        self._link = address if _LINKED.match(address) and len(address) <= _LONGEST_LINK else ""
        self._link_start = len(self._out)

    def _close_link(self) -> None:
        link, self._link = self._link, ""
        if not link:
            return
        shown = "".join(self._out[self._link_start :]).strip()
        if shown and shown.rstrip("/") not in link.removeprefix("mailto:"):
            self._out.append(f" ({link.removeprefix('mailto:')})")

    def _add(self, text: str) -> None:
        if not text or self._dropping or (self._visibility is not None and not self._visibility.is_shown):
            return
        if self._in_pre:
            self._out.append(text)
        elif text.isspace():
            self._out.append(" ")
        else:
            self._out.append(text.replace("\n", " ").replace("\r", " "))


def _split_tag(chunk: str, start: int) -> tuple[str, str]:
    """Split attributes and the text behind the tag. A `>` inside a quoted attribute does not end it."""
    end = chunk.find(">", start)
    if end < 0:
        return chunk[start:], ""
    if end == start:
        return "", chunk[end + 1 :]
    attributes = chunk[start:end]
    for quote in ('"', "'"):
        if attributes.count(quote) % 2 and "=" + quote in attributes:
            close = chunk.find(quote, end)
            longer = chunk.find(">", close) if close >= 0 else -1
            if longer >= 0:
                return chunk[start:longer], chunk[longer + 1 :]
    return attributes, chunk[end + 1 :]


def _attribute(pattern: re.Pattern[str], attributes: str) -> str:
    match = pattern.search(attributes)
    return next((group for group in match.groups() if group), "") if match else ""
