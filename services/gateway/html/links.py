"""The targets of links and the sources of pictures."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

# Characters that the URL Standard ignores at both ends, and anywhere.
_AROUND = "".join(map(chr, range(0x21)))
_WITHIN = re.compile(r"[\t\n\r]")
# Without the slashes, a URL of the page's own scheme is relative to the page, and leads to its host.
_LINK = re.compile(r"https?://[^\s/\\?#]|(?:mailto|tel):", re.IGNORECASE)
_DATA = re.compile(r"data:image/(?:png|gif|jpe?g|webp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
_WEB = re.compile(r"(?:https?:)?//", re.IGNORECASE)


def safe_link(href: str) -> str | None:
    """Return an absolute link to the web, to an address or to a telephone, as browsers read it; None for any other.

    Source: https://url.spec.whatwg.org/#concept-basic-url-parser
    """
    url = _plain(href)
    return url if _LINK.match(url) else None


def picture_finder(pictures: Mapping[str, str]) -> Callable[[str], str | None]:
    """Return a function from the `src` of a picture of the message to its address; it returns None for any other.

    They are named by Content-ID (`cid:`, RFC 2392), by Content-Location (RFC 2557) or, as some programs do, by the name
    of a file, whatever folder it was in when the mail was written.
    """
    in_any_case = {name.lower(): address for name, address in pictures.items()}

    def find(src: str) -> str | None:
        url = _plain(src)
        if url[:5].lower() == "data:":
            return url if _DATA.fullmatch(url) else None
        name = unquote(url[4:] if url[:4].lower() == "cid:" else url)
        found = pictures.get(name) or in_any_case.get(name.lower())
        return found or (None if _WEB.match(url) else in_any_case.get(_file_name(name).lower()))

    return find


def _plain(url: str) -> str:
    return _WITHIN.sub("", url.strip(_AROUND))


def _file_name(path: str) -> str:
    return re.split(r"[?#]", path, maxsplit=1)[0].replace("\\", "/").rpartition("/")[2]
