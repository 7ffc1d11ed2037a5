"""The choke point for text: nothing is stored that did not pass here.

Postgres refuses U+0000 in text and jsonb; a lone surrogate cannot be encoded as UTF-8 at all.
"""

import html
import re

_CONTROLS_AND_BIDI = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PADDING = re.compile("(?:[\u00ad\u034f\u061c\u180e\u200b-\u200d\u2060\ufeff]\\s*){2,}")


def clean_text(value: str) -> str:
    """`value` without NUL; surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    if "\0" in value:
        value = value.replace("\0", "")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def clean_line(value: str) -> str:
    """`value` as one line that is safe to show: no controls, no bidi overrides, white space collapsed."""
    if value.isascii() and value.isprintable() and "  " not in value:
        return value.strip()
    collapsed = " ".join(clean_text(value).split())
    return " ".join(_CONTROLS_AND_BIDI.sub("", collapsed).split())


def cut_utf8(value: str, limit: int) -> tuple[str, bool]:
    """The longest start of `value` that takes at most `limit` bytes of UTF-8, and whether anything was cut."""
    if len(value) * 4 <= limit or (value.isascii() and len(value) <= limit):
        return value, False
    # A character takes a byte at least.
    encoded = value[: limit + 1].encode()
    if len(encoded) <= limit:
        return value, False
    return encoded[:limit].decode("utf-8", "ignore"), True


def unescape_snippet(value: str) -> str:
    """Gmail's snippet as plain text: entities resolved exactly once, zero-width padding removed.

    Single zero-width joiners stay, since emoji and several scripts need them.
    """
    return clean_line(_PADDING.sub(" ", html.unescape(value)))
