"""The policy for the HTML of messages: text with its styles, links, and pictures of the message itself.

It removes all else: scripts, forms and frames, content that loads from elsewhere when a message is shown, and elements
that cover other parts of the page. The module imports none of ours, so that it can run as a program: HTML can make any
parser that follows the standard quadratic (200 kB of open tags: 10 s), and only a process can be stopped.
"""

import json
import re
import resource
import sys
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import nh3

_TAGS = (nh3.ALLOWED_TAGS | {"font", "big", "tfoot"}) - {"map", "area"}
# Removed with their contents, which are not meant to be read.
_REMOVED_WITH_CONTENT = {
    *("script", "style", "title", "head", "template", "noscript", "svg", "math", "iframe", "object", "embed", "applet"),
    *("audio", "video", "canvas", "select", "textarea", "xmp", "noembed", "noframes", "frameset"),
}
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

PROCESSOR_SECONDS = 4
MEMORY_BYTES = 1 << 30


def sanitise(html: str, pictures: Mapping[str, str]) -> str:
    """Return the allowed parts of `html`; `pictures` are the addresses of the message's own parts by content id."""
    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags=_REMOVED_WITH_CONTENT,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute_filter(pictures),
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        filter_style_properties=_STYLES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _attribute_filter(pictures: Mapping[str, str]) -> Callable[[str, str, str], str | None]:
    in_any_case = {content_id.lower(): address for content_id, address in pictures.items()}

    def keep(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "style":
            return None if _LOADING_STYLE.search(value) else _staying(value) or None
        if attribute == "href":
            return value if _LINK.match(value.strip()) else None
        if (tag, attribute) != ("img", "src"):
            return value
        scheme, _, rest = value.strip().partition(":")
        if scheme.lower() == "cid":
            content_id = unquote(rest)
            return pictures.get(content_id) or in_any_case.get(content_id.lower())
        return value if _PICTURE.fullmatch(value.strip()) else None

    return keep


def _staying(style: str) -> str:
    """Return the declarations that leave an element in its place. nh3 parses the result afterwards."""
    if not _LEAVING_STYLE.search(style):
        return style
    return ";".join(part for part in style.split(";") if not _LEAVING_STYLE.search(part))


def main() -> None:
    """Read a line with the pictures as JSON, then the HTML, and write the allowed parts.

    The operating system ends the program beyond PROCESSOR_SECONDS and MEMORY_BYTES.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pictures = json.loads(sys.stdin.buffer.readline())
    html = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(sanitise(html, pictures).encode())


if __name__ == "__main__":
    main()
