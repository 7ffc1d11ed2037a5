"""Address headers (RFC 5322 section 3.4), read leniently and in linear time.

The structure is read before encoded words are decoded, so that a comma or bracket inside a word separates nothing. A
provider that decodes them itself leaves names whose commas, colons and semicolons look like structure: those are told
apart by what stands around them.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from services.mail.content.headers.comments import split_comments
from services.mail.content.headers.encoded_words import ENCODED_WORD
from services.mail.content.headers.mailboxes import QUOTED, parse_mailbox, parse_usual
from services.mail.content.model import Address

_TOKEN = re.compile(r'=\?|\\.|[",;:()<\[]', re.DOTALL)
_ANGLE_MARK = re.compile(r"[<>(]")
_PARENTHESIS = re.compile(r"\\.|[()]", re.DOTALL)
_DEEPEST_COMMENT = 20
# No real name, quoted string, comment or address is longer; looking no further keeps hostile headers linear.
_LONGEST_ITEM = 2000
_MOST_COMMAS_IN_NAME = 3

type _Piece = tuple[str, str]
"""Text, and the separator behind it: one of `,` `;` `:`, or nothing at the end. A closed group ends with END."""

_END = ""


def parse_addresses(value: str) -> tuple[Address, ...]:
    """Read every mailbox that an address header names, groups resolved, in order. Never fails.

    A name without an address gives an `Address` with an empty `email`. A comma in an unquoted display name
    (`Doe, John <john@example.com>`) does not split it.
    """
    usual = parse_usual(value)
    if usual:
        return (usual,)
    return tuple(_join_split_names(_resolve_groups(list(_split(value)))))


def collect_addresses(headers: Sequence[tuple[str, str]], name: str) -> tuple[Address, ...]:
    """Read all header fields of that name (in lower case): some senders write one field per recipient."""
    values = [value for key, value in headers if len(key) == len(name) and key.lower() == name]
    return tuple([address for value in values for address in parse_addresses(value)])


def _split(value: str) -> Iterator[_Piece]:
    """Split a header at its separators; those in quotes, words, comments and brackets are none."""
    start = position = 0
    while token := _TOKEN.search(value, position):
        kind, position = token.group(), token.end()
        if kind in ",;:":
            yield value[start : token.start()], kind
            start = position
        else:
            position = _skip(value, token)
    yield value[start:], _END


def _skip(value: str, token: re.Match[str]) -> int:
    """Return where the construct that starts at `token` ends; just behind the token if it never does."""
    match token.group():
        case '"':
            quoted = QUOTED.match(value, token.start(), token.start() + _LONGEST_ITEM)
            return quoted.end() if quoted else token.end()
        case "=?":
            word = ENCODED_WORD.match(value, token.start())
            return word.end() if word else token.end()
        case "(":
            return _skip_comment(value, token.end())
        case "<":
            return _skip_angle(value, token.end())
        case "[":
            return value.find("]", token.end(), token.end() + _LONGEST_ITEM) + 1 or token.end()
        case _:
            return token.end()


def _skip_angle(value: str, position: int) -> int:
    end = position
    while mark := _ANGLE_MARK.search(value, end, position + _LONGEST_ITEM):
        if mark.group() in "<>":
            return mark.end() if mark.group() == ">" else position
        end = _skip_comment(value, mark.end())
    return position


def _skip_comment(value: str, position: int) -> int:
    depth = 1
    end = position
    while depth and (match := _PARENTHESIS.search(value, end, position + _LONGEST_ITEM)):
        depth += {"(": 1, ")": -1}.get(match.group(), 0)
        end = match.end()
        if depth > _DEEPEST_COMMENT:
            return end
    return position if depth else end


def _resolve_groups(pieces: Sequence[_Piece]) -> Iterator[_Piece]:
    """Drop the names of groups. A colon that begins no group is part of a name, and joins two pieces."""
    if not any(separator == ":" for _, separator in pieces):
        yield from pieces
        return
    addresses_before = list(accumulate(("@" in text for text, _ in pieces), initial=0))
    ends = _find_ends(pieces)
    closing = -1
    prefix = ""
    for index, (text, separator) in enumerate(pieces):
        if separator != ":":
            yield prefix + text, _END if index == closing else separator
            prefix = ""
        elif not prefix and _begins_group(pieces, index, ends[index], addresses_before):
            closing = ends[index] if ends[index] < len(pieces) else closing
        else:
            prefix += text + ":"


def _find_ends(pieces: Sequence[_Piece]) -> list[int]:
    """Return for each piece the index of the next one with a semicolon behind it; the number of pieces without any."""
    ends, end = [], len(pieces)
    for index in range(len(pieces) - 1, -1, -1):
        end = index if pieces[index][1] == ";" else end
        ends.append(end)
    return ends[::-1]


def _begins_group(pieces: Sequence[_Piece], index: int, end: int, addresses_before: Sequence[int]) -> bool:
    """Return whether the colon behind a piece begins a group: one that is closed holds addresses or nothing at all.

    Without its semicolon a group holds bare addresses: `Re: Ann <ann@example.com>` is a name with a colon.
    """
    name, _ = pieces[index]
    members, _ = pieces[index + 1]
    if _is_blank(members):
        return "<" not in name
    if "@" in name or "<" in name:
        return False
    if end < len(pieces):
        return addresses_before[end + 1] > addresses_before[index + 1]
    return "@" in members and "<" not in members


def _join_split_names(pieces: Iterator[_Piece]) -> Iterator[Address]:
    """Read the pieces; one with neither address nor brackets starts the next one's name."""
    pending: list[str] = []
    for text, separator in pieces:
        if _is_blank(text):
            continue
        if _is_name_only(text):
            pending.append(text + separator)
            if separator:
                continue
        joined = pending[-_MOST_COMMAS_IN_NAME:] if "<" in text else []
        yield from (address for name in pending[: len(pending) - len(joined)] for address in _parse_name(name))
        if not _is_name_only(text):
            yield from parse_mailbox("".join((*joined, text))[-_LONGEST_ITEM:])
        pending = []
    yield from (address for name in pending for address in _parse_name(name))


def _is_blank(text: str) -> bool:
    """Return whether it holds nothing but comments, which name no mailbox."""
    return not split_comments(text)[0].strip()


def _is_name_only(text: str) -> bool:
    return "@" not in text and "<" not in text


def _parse_name(text: str) -> Iterator[Address]:
    return parse_mailbox(text[-_LONGEST_ITEM:].rstrip(",; \t"))
