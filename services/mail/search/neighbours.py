"""Pairs of short words that stand side by side in a text.

The commonest words of a language are its shortest. A phrase of such words alone would have to be checked in nearly
every message of a mailbox; with their pairs in the index, few messages are left to check. A pair is a hash, so that the
index has few different ones; other pairs may share it.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

PAIRS = 1024
"""Different hashes. Half of all real messages have fewer than 20 of them."""

# With four letters, the index would grow by a quarter instead of a tenth.
_LONGEST = 3
# Letters of scripts with spaces; digits sort before them, unspaced scripts after them.
_FIRST, _BEHIND_LAST = "a", "\u0e00"


def pairs_of(terms: Iterable[str]) -> set[int]:
    """Return the pairs of short words in the terms of a text."""
    short = {(one, next_) for one, next_ in pairwise(terms) if len(one) <= _LONGEST and len(next_) <= _LONGEST}
    return {
        _number(one, next_) for one, next_ in short if _FIRST <= one < _BEHIND_LAST and _FIRST <= next_ < _BEHIND_LAST
    }


@lru_cache(1 << 14)
def _number(one: str, next_: str) -> int:
    return crc32(f"{one} {next_}".encode()) % PAIRS
