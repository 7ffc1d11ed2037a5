"""The part of a text that is worth a full-text index."""

import re

from services.mail.content.text.clean import cut_utf8

INDEXABLE_BYTES = 200_000
"""Bytes of UTF-8 of one text that are indexed."""

_SHORTEST_LINE, _LONGEST_WORD, _FEWEST_LINES = 60, 200, 5
_ENCODED = "[A-Za-z0-9+/=_-]"
# A run too long for a word, or lines of base64 (RFC 4648): with letters of both cases, which lists of hashes lack.
_LONG_RUN = f"(?<!{_ENCODED}){_ENCODED}{{{_LONGEST_WORD + 1},}}+"
_LINE = rf"^[ \t>]*+(?=[^\n]*[a-z])(?=[^\n]*[A-Z]){_ENCODED}{{{_SHORTEST_LINE},}}+[ \t]*+\r?\n"
_ENCODED_DATA = re.compile(rf"{_LONG_RUN}|(?:{_LINE}){{{_FEWEST_LINES},}}+", re.MULTILINE)


def indexable(text: str) -> str:
    """`text` for a search index: without encoded data, at most INDEXABLE_BYTES of UTF-8."""
    # Nearly always, and found out in half the time.
    if len(text) <= INDEXABLE_BYTES // 4 and not _may_be_encoded(text):
        return text
    # A text that is mostly encoded data may lose some words after this; the work stays bounded.
    start, _ = cut_utf8(text, INDEXABLE_BYTES * 8)
    return cut_utf8(_ENCODED_DATA.sub(" ", start), INDEXABLE_BYTES)[0]


def _may_be_encoded(text: str) -> bool:
    lengths = [length for length in map(len, text.split()) if length >= _SHORTEST_LINE]
    return len(lengths) >= _FEWEST_LINES or max(lengths, default=0) > _LONGEST_WORD
