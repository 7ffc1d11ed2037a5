"""What of a text is worth a full-text index.

Postgres refuses a tsvector above 1 MB and ignores words above 2,046 bytes.
"""

import re

from services.mail.content.text.clean import cut_utf8

INDEXABLE_BYTES = 200_000
"""Short distinct words take about 2.7 bytes of a tsvector per byte of text: this much stays below 1 MB."""

_SHORTEST_RUN = 60
_ENCODED_RUN = re.compile(rf"[A-Za-z0-9+/=_-]{{{_SHORTEST_RUN},}}")
_LONG_WORD = re.compile(r"\S{201,}")
_LONGEST_WORD = 200


def indexable(text: str) -> str:
    """`text` for a search index: base64-like runs dropped, long words truncated, at most INDEXABLE_BYTES of UTF-8.

    A long run of a script without spaces is split instead of truncated, so that no part of it is lost.
    """
    # Nearly always, and found out in half the time.
    if len(text) <= INDEXABLE_BYTES // 4 and max(map(len, text.split()), default=0) < _SHORTEST_RUN:
        return text
    # A text that is mostly noise may lose some words behind this; the work stays bounded.
    start, _ = cut_utf8(text, INDEXABLE_BYTES * 8)
    without_runs = _ENCODED_RUN.sub(" ", start)
    return cut_utf8(_LONG_WORD.sub(_shorten, without_runs), INDEXABLE_BYTES)[0]


def _shorten(match: re.Match[str]) -> str:
    word = match.group()
    if word.isascii():
        return word[:_LONGEST_WORD]
    return " ".join(word[start : start + _LONGEST_WORD] for start in range(0, len(word), _LONGEST_WORD))
