"""The choke point for text: nothing is stored that did not pass here.

Postgres refuses U+0000 in text and jsonb; a lone surrogate cannot be encoded as UTF-8 at all.
"""

import re

# Characters that are joined with their neighbours by a zero-width joiner, or kept apart by a non-joiner: of Arabic and
# its relatives, of Indic and South-East Asian scripts, Mongolian, emoji (UAX 31 section 2.3, UTS 51 section 2.3).
_JOINED = (
    "\u0600-\u061b\u061d-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1b00-\u1bff\ufb50-\ufdff\ufe70-\ufefc\u00a9\u00ae\u203c-\u2049"
    "\u2190-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\ufe0f\U0001f000-\U0001faff\U000e007f"
)
# What shows nothing on a line: controls, directions, and Unicode's other default ignorable code points; but neither
# variation selectors, nor joiners where they join, nor the tags of a flag.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u00ad\u034f\u061c\u17b4\u17b5\u180e\u200b\u2060-\u2065"
    "\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]++"
)
_LONE_JOINER = re.compile(f"(?<![{_JOINED}])[\u200c\u200d]++|[\u200c\u200d]++(?![{_JOINED}])")


def clean_text(value: str) -> str:
    """Remove NUL, join surrogate pairs, replace lone surrogates by U+FFFD."""
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
    """Make one line that is safe to show: nothing invisible, no bidi overrides, white space collapsed."""
    if value.isascii() and value.isprintable() and "  " not in value:
        return value.strip()
    collapsed = " ".join(clean_text(value).split())
    visible = _INVISIBLE.sub("", collapsed)
    if "\u200c" in visible or "\u200d" in visible:
        visible = _LONE_JOINER.sub("", visible)
    return " ".join(visible.split())


def cut_utf8(value: str, limit: int) -> tuple[str, bool]:
    """Cut `value` to at most `limit` bytes of UTF-8; the second value says whether anything was cut."""
    if len(value) * 4 <= limit or (value.isascii() and len(value) <= limit):
        return value, False
    # A character takes a byte at least.
    encoded = value[: limit + 1].encode()
    if len(encoded) <= limit:
        return value, False
    return encoded[:limit].decode("utf-8", "ignore"), True
