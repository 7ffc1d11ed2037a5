"""Sets of numbers as IMAP writes them, such as `1:4,7,9:*` (RFC 9051, section 9)."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

_SET = re.compile(r"(?:\d+|\*)(?::(?:\d+|\*))?(?:,(?:\d+|\*)(?::(?:\d+|\*))?)*")
MAX_NUMBER = 2**32 - 1


def is_set(text: str) -> bool:
    """Return whether the text is a set."""
    return _SET.fullmatch(text) is not None


def matching(text: str, numbers: Sequence[int]) -> list[int]:
    """Return those of the ascending `numbers` that are in the set; `*` is the last of them. Raises ValueError."""
    if not is_set(text):
        raise ValueError("malformed set")
    largest = numbers[-1] if numbers else 0
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition(":")
        ends = sorted(largest if end == "*" else int(end) for end in (first, last or first))
        if ends[1] > MAX_NUMBER:
            raise ValueError("a number is too large")
        found.update(numbers[bisect_left(numbers, ends[0]) : bisect_right(numbers, ends[1])])
    return sorted(found)


def compact(numbers: Iterable[int]) -> str:
    """Return ascending numbers as a set."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in ranges)
