"""Text of an HTML body. One pass over the tags, linear in the input whatever it contains."""

import html
import re

from services.mail.content.text.clean import clean_text

_RAW = {"script", "style"}
_HIDDEN = {"title", "template", "xml", "noembed", "noframes", "object", "applet", "svg"}
_PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "dl", "table", "pre"}
_LINES = {
    *("div", "tr", "section", "article", "header", "footer", "center", "form", "fieldset", "address", "dt", "dd"),
    *("figure", "main", "nav", "aside", "tbody", "thead", "caption", "option", "body", "html", "head"),
}
_CELLS = {"td", "th"}
_TAG_NAME = re.compile(r"/?[a-zA-Z][^\s/>]*")
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_LINKED = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
_LONGEST_LINK = 200
_BLANK_LINES = re.compile(r"\n{3,}")


def html_to_text(source: str) -> str:
    """What a reader sees of `source`: blocks on lines of their own, list items with a dash, links as `text (address)`.

    Scripts, styles and titles are dropped. Links above 200 characters are left out: those are tracking addresses.
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

    def read(self, source: str) -> list[str]:
        lower = source.lower()
        # Of an element that nobody closes, nothing is hidden.
        self._dropped = _RAW | {name for name in _HIDDEN if "</" + name in lower}
        chunks = source.split("<")
        self._add(chunks[0])
        for chunk in chunks[1:]:
            self._read_chunk(chunk)
        self._close_link()
        return self._out

    def _read_chunk(self, chunk: str) -> None:
        """What stood between one `<` and the next: a tag and the text behind it, or text with a bare `<`."""
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
        else:
            self._mark(name, attributes)
        self._add(text)

    def _mark(self, name: str, attributes: str) -> None:
        """Turn a tag into the white space, dash or address that stands for it."""
        element = name.removeprefix("/")
        if element == "br" or element in _LINES:
            self._out.append("\n")
        elif element in _PARAGRAPHS or name == "hr":
            self._out.append("\n\n")
            if element == "pre":
                self._in_pre = max(0, self._in_pre + (-1 if name[0] == "/" else 1))
        elif element in _CELLS:
            self._out.append(" ")
        elif name == "li":
            self._out.append("\n- ")
        elif element == "a":
            self._close_link()
            self._open_link(attributes)
        elif name == "img":
            self._out.append(_attribute(_ALT, attributes))

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
        if not text or self._dropping:
            return
        if self._in_pre:
            self._out.append(text)
        elif text.isspace():
            self._out.append(" ")
        else:
            self._out.append(text.replace("\n", " ").replace("\r", " "))


def _split_tag(chunk: str, start: int) -> tuple[str, str]:
    """Attributes and the text behind the tag. A `>` inside a quoted attribute does not end it."""
    end = chunk.find(">", start)
    if end < 0:
        return chunk[start:], ""
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
