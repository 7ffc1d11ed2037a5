"""Pairs of short words that stand side by side in a text.

The commonest words of a language are its shortest. A phrase of nothing but such words would have to be looked for in
nearly every message of a mailbox; with their pairs in the index, few messages are left to look at. A pair is a number,
so that a message has few of them and the index few different ones; it may stand for other pairs, too.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

PAIRS = 1024
"""Different pairs. Of real messages, half have fewer than 20 of them: two pairs leave one message in a thousand."""

# With four letters, the index would grow by a quarter instead of a tenth.
_LONGEST = 3
# Letters of scripts with spaces; digits sort before them, unspaced scripts after them.
_FIRST, _BEHIND_LAST = "a", "\u0e00"


def pairs_of(terms: Iterable[str]) -> set[int]:
    """The pairs of short words in the terms of a text."""
    short = {(one, next_) for one, next_ in pairwise(terms) if len(one) <= _LONGEST and len(next_) <= _LONGEST}
    return {
        _number(one, next_) for one, next_ in short if _FIRST <= one < _BEHIND_LAST and _FIRST <= next_ < _BEHIND_LAST
    }


@lru_cache(1 << 14)
def _number(one: str, next_: str) -> int:
    return crc32(f"{one} {next_}".encode()) % PAIRS
