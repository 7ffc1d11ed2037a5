"""The parts of a message's HTML that may reach a browser: text and its looks, links, pictures of the message itself.

Nothing else: no scripts, forms or frames, nothing that the display would load from elsewhere, nothing that leaves its
place on the page. A program of its own, too: HTML can make any parser that follows the standard quadratic (200 kB of
open tags: 10 s), and only a process can be stopped.
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
# Elements whose contents are not text for readers.
_REMOVED_WITH_CONTENT = {
    *("script", "style", "title", "head", "template", "noscript", "svg", "math", "iframe", "object", "embed", "applet"),
    *("audio", "video", "canvas", "select", "textarea", "xmp", "noembed", "noframes", "frameset"),
}
# The schemes that reach the filter, which is stricter.
_SCHEMES = {"http", "https", "mailto", "tel", "cid", "data", "file", "thismessage"}
_BODY = re.compile(r"<body(?=[\s/>])", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""[\s/]*+([^\s/>=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"']*+)))?""")

MEMORY_BYTES = 1 << 30


def sanitise(html: str, pictures: Mapping[str, str]) -> str:
    """Return the allowed parts of `html`.

    `pictures` are the addresses of the message's own parts by content id, Content-Location and file name.
    """
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


def _body_as_div(html: str) -> str:
    """Return `html` with a div in the colours of its body: text in one of them cannot be read without the other.

    A parser of fragments drops the body's tag.
    """
    body = _BODY.search(html)
    if body is None:
        return html
    # Of two attributes of one name the first counts.
    attributes = dict(reversed(list(_attributes(html, body.end()))))
    legacy = (("background", attributes.get("bgcolor", "")), ("color", attributes.get("text", "")))
    colours = (f"{name}:{value}" for name, value in legacy if FORMS["bgcolor"](value))
    style = markup.escape(";".join(filter(None, [*colours, attributes.get("style")])))
    return f'{html[: body.start()]}<div style="{style}">{html[body.start() :]}' if style else html


def _attributes(html: str, at: int) -> Iterator[tuple[str, str]]:
    """Yield the names and values in a tag from that place on."""
    while match := _ATTRIBUTE.match(html, at):
        name, *values = match.groups()
        yield name.lower(), markup.unescape(next(filter(None, values), ""))
        at = match.end()


def main() -> None:
    """Read a line with the pictures as JSON, then the HTML, and write the safe HTML, within limits of the system.

    The argument is the limit of CPU time in seconds.
    """
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pictures = json.loads(sys.stdin.buffer.readline())
    html = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(sanitise(html, pictures).encode())


if __name__ == "__main__":
    main()
