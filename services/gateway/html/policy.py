<<<<<<< HEAD
"""The parts of a message's HTML that may reach a browser: text and its looks, links, pictures of the message itself.

Nothing else: no scripts, forms or frames, nothing that the display would load from elsewhere, nothing that leaves its
place on the page. A program of its own, too: HTML can make any parser that follows the standard quadratic (200 kB of
open tags: 10 s), and only a process can be stopped.
=======
"""The policy for the HTML of messages: text with its styles, links, and pictures of the message itself.

It removes all else: scripts, forms and frames, content that loads from elsewhere when a message is shown, and elements
that cover other parts of the page. The module imports none of ours, so that it can run as a program: HTML can make any
parser that follows the standard quadratic (200 kB of open tags: 10 s), and only a process can be stopped.
>>>>>>> 48bc227c3c7c9e7e61cbef6ad3c8ea0f2894de0f
"""

import html as markup
import json
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping

import nh3

from services.gateway.html.attributes import ATTRIBUTES, FORMS
from services.gateway.html.links import picture_finder, safe_link
from services.gateway.html.styles import safe_style

_TAGS = (nh3.ALLOWED_TAGS | {"font", "big", "tfoot"}) - {"map", "area"}
<<<<<<< HEAD
# Their contents are not text for readers.
=======
# Removed with their contents, which are not meant to be read.
>>>>>>> 48bc227c3c7c9e7e61cbef6ad3c8ea0f2894de0f
_REMOVED_WITH_CONTENT = {
    *("script", "style", "title", "head", "template", "noscript", "svg", "math", "iframe", "object", "embed", "applet"),
    *("audio", "video", "canvas", "select", "textarea", "xmp", "noembed", "noframes", "frameset"),
}
<<<<<<< HEAD
# Whatever else `src` and `href` may not be is decided by the filter; these schemes reach it.
_SCHEMES = {"http", "https", "mailto", "tel", "cid", "data", "file", "thismessage"}
_BODY = re.compile(r"<body(?=[\s/>])", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""[\s/]*+([^\s/>=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"']*+)))?""")
=======
_LAYOUT = {"align", "valign", "width", "height", "bgcolor"}
_ATTRIBUTES = {
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
# Without properties that can load content (background, list-style, cursor, content, filter) or move an element over
# others (position, z-index, transform).
_STYLES = {
    *("color", "background-color", "opacity", "direction", "unicode-bidi", "vertical-align", "display", "box-sizing"),
    *("font", "font-family", "font-size", "font-style", "font-variant", "font-weight", "font-stretch", "line-height"),
    *("text-align", "text-decoration", "text-indent", "text-transform", "text-overflow", "letter-spacing"),
    *("white-space", "word-break", "word-spacing", "word-wrap", "overflow-wrap", "float", "clear", "quotes"),
    *("width", "height", "min-width", "max-width", "min-height", "max-height", "table-layout", "empty-cells"),
    *("border-collapse", "border-spacing", "border-radius", "caption-side", "list-style-type", "list-style-position"),
    *("padding", "padding-top", "padding-right", "padding-bottom", "padding-left"),
    *("margin", "margin-top", "margin-right", "margin-bottom", "margin-left"),
    *(
        f"border{side}{suffix}"
        for side in ("", "-top", "-right", "-bottom", "-left")
        for suffix in ("", "-color", "-style")
    ),
    *(f"border{side}-width" for side in ("", "-top", "-right", "-bottom", "-left")),
}
_LOADING_STYLE = re.compile(r"\\|/\*|url\s*\(|image|src\s*\(|expression|attr\s*\(|var\s*\(|@", re.IGNORECASE)
# Lengths that are negative or computed can move an element over others (margin, indent, vertical alignment).
_LEAVING_STYLE = re.compile(r"[:\s,]-\s*[.\d]|(?:calc|min|max|clamp)\s*\(", re.IGNORECASE)
_LINK = re.compile(r"(?:https?|mailto|tel):", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/(?:png|gif|jpe?g|webp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
>>>>>>> 48bc227c3c7c9e7e61cbef6ad3c8ea0f2894de0f

PROCESSOR_SECONDS = 4
MEMORY_BYTES = 1 << 30


def sanitise(html: str, pictures: Mapping[str, str]) -> str:
<<<<<<< HEAD
    """`html` as the policy allows it.

    `pictures` are the addresses of the message's own parts by content id, Content-Location and file name.
    """
=======
    """Return the allowed parts of `html`; `pictures` are the addresses of the message's own parts by content id."""
>>>>>>> 48bc227c3c7c9e7e61cbef6ad3c8ea0f2894de0f
    return nh3.clean(
        _body_as_div(html),
        tags=_TAGS,
        clean_content_tags=_REMOVED_WITH_CONTENT,
        attributes=dict(ATTRIBUTES),
        attribute_filter=_attribute_filter(pictures),
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _attribute_filter(pictures: Mapping[str, str]) -> Callable[[str, str, str], str | None]:
    find_picture = picture_finder(pictures)

    def keep(tag: str, attribute: str, value: str) -> str | None:
        match attribute:
            case "style":
                return safe_style(value, tag=tag) or None
            case "href":
                return safe_link(value)
            case "src":
                return find_picture(value)
            case _:
                form = FORMS.get(attribute)
                return form(value) if form else value

    return keep


<<<<<<< HEAD
def _body_as_div(html: str) -> str:
    """`html` with a div that has the colours of its body: text in one of them cannot be read without the other.

    A parser of fragments drops the body's tag.
    """
    body = _BODY.search(html)
    if body is None:
        return html
    attributes = dict(_attributes(html, body.end()))
    legacy = (("background", attributes.get("bgcolor")), ("color", attributes.get("text")))
    styles = [*(f"{name}:{value}" for name, value in legacy if value), attributes.get("style", "")]
    style = markup.escape(";".join(filter(None, styles)))
    return f'{html[: body.start()]}<div style="{style}">{html[body.start() :]}' if style else html


def _attributes(html: str, at: int) -> Iterator[tuple[str, str]]:
    """Names and values in a tag from that place on."""
    while match := _ATTRIBUTE.match(html, at):
        name, *values = match.groups()
        yield name.lower(), markup.unescape(next(filter(None, values), ""))
        at = match.end()


def main() -> None:
    """Reads a line with the pictures as JSON and then the HTML, writes the safe HTML; limited by the system."""
=======
def _staying(style: str) -> str:
    """Return the declarations that leave an element in its place. nh3 parses the result afterwards."""
    if not _LEAVING_STYLE.search(style):
        return style
    return ";".join(part for part in style.split(";") if not _LEAVING_STYLE.search(part))


def main() -> None:
    """Read a line with the pictures as JSON, then the HTML, and write the allowed parts.

    The operating system ends the program beyond PROCESSOR_SECONDS and MEMORY_BYTES.
    """
>>>>>>> 48bc227c3c7c9e7e61cbef6ad3c8ea0f2894de0f
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pictures = json.loads(sys.stdin.buffer.readline())
    html = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(sanitise(html, pictures).encode())


if __name__ == "__main__":
    main()
