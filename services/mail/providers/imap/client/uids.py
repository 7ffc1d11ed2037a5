"""Sets of UIDs as texts: `1:5,9` (RFC 9051, sequence-set)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.mail.providers.imap.client.errors import MalformedResponseError

HIGHEST_UID: Final = 2**32 - 1
"""The end of a set without an end. `*` would name the last message even below the beginning of the set."""
# Some servers refuse command lines of more than 8,192 bytes.
_LONGEST_SET: Final = 7_000
# Twice as many as a line that names each of them has room for.
_MOST_UIDS: Final = 2_000_000


@dataclass(frozen=True, slots=True, order=True)
class UidRange:
    """The UIDs from `first` to `last`, both included. It may name UIDs without a message."""

    first: int
    last: int

    def __str__(self) -> str:
        """Return the range as a set."""
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"


def ranges_of(text: bytes) -> list[UidRange]:
    """Return the ranges of a server's set in ascending order. Raises MalformedResponseError."""
    try:
        return sorted(_range_of(part) for part in text.split(b",") if part)
    except ValueError as error:
        raise MalformedResponseError("no set of UIDs") from error


def _range_of(part: bytes) -> UidRange:
    begin, _, end = part.partition(b":")
    ends = sorted((_uid_of(begin), _uid_of(end or begin)))
    return UidRange(*ends)


def _uid_of(text: bytes) -> int:
    if text == b"*":
        return HIGHEST_UID
    uid = int(text) if text.isdigit() and len(text) <= 10 else -1
    if not 0 < uid <= HIGHEST_UID:
        raise ValueError
    return uid


def gaps(limits: UidRange, uids: Iterable[int]) -> str:
    """Return the set of all UIDs within `limits` but for these, empty if there is none."""
    found: list[UidRange] = []
    begin = limits.first
    for uid in sorted(each for each in uids if limits.first <= each <= limits.last):
        if uid > begin:
            found.append(UidRange(begin, uid - 1))
        begin = uid + 1
    if begin <= limits.last:
        found.append(UidRange(begin, limits.last))
    return ",".join(map(str, found))


def within(ranges: Iterable[UidRange], limits: UidRange) -> list[int]:
    """Return the UIDs of `ranges` that are in `limits`, ascending, each once. Raises MalformedResponseError.

    A few bytes can name more of them than memory has room for.
    """
    found: list[int] = []
    for each in sorted(ranges):
        begin, end = max(each.first, limits.first, found[-1] + 1 if found else 0), min(each.last, limits.last)
        if len(found) + end - begin > _MOST_UIDS:
            raise MalformedResponseError("more messages than a folder has")
        found.extend(range(begin, end + 1))
    return found


def sets_of(uids: Iterable[int]) -> Iterator[str]:
    """Yield sets that name these UIDs, each short enough for a command."""
    some: list[str] = []
    size = 0
    for each in _joined(sorted(set(uids))):
        text = str(each)
        if some and size + len(text) >= _LONGEST_SET:
            yield ",".join(some)
            some, size = [], 0
        some.append(text)
        size += len(text) + 1
    if some:
        yield ",".join(some)


def _joined(uids: Sequence[int]) -> Iterator[UidRange]:
    begin = 0
    for place in range(1, len(uids) + 1):
        if place == len(uids) or uids[place] != uids[place - 1] + 1:
            yield UidRange(uids[begin], uids[place - 1])
            begin = place
