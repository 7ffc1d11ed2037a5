"""The values in a response: atoms, strings, numbers, NIL and lists (RFC 9051, section 4)."""

import re
from itertools import zip_longest
from typing import Final

from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.frames import Frame, Streamed

# Lists within lists. Attached messages within attached messages nest body structures.
_DEEPEST: Final = 200
# An atom can have a section: BODY[HEADER.FIELDS (DATE FROM)]<0>. Servers also list names as [Mail]/Sent without quotes.
# Each alternative begins with another byte, and quantifiers are possessive: time is linear whatever a server sends.
_TOKEN: Final = re.compile(
    rb"""
    \s*+ (?:
    ((?:[^\s()"\[]++ | \[[^\[\]\r\n]*+\] | \[)++)
    | (\() | (\))
    | "([^"\\]*+(?:\\.[^"\\]*+)*+)"
    | (.) | \Z
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_ATOM, _OPEN, _CLOSE, _QUOTED, _OTHER = range(1, 6)
# RFC 9051, section 9: number64 has 63 bits.
_HIGHEST: Final = 2**63 - 1
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


class Atom(bytes):
    """A word without quotes. Where a string is expected, it is the next name: the string is missing."""

    __slots__ = ()


# None stands for NIL.
type Value = Atom | bytes | Streamed | list[Value] | None


def values_of(frame: Frame, *, start: int = 0) -> list[Value]:
    """Return the values of a response from byte `start` of its first text on. Raises MalformedResponseError."""
    root: list[Value] = []
    stack = [root]
    for text, literal in zip_longest(frame.texts, frame.literals):
        _add_text(stack, text, start)
        start = 0
        if literal is not None:
            stack[-1].append(literal)
    if len(stack) > 1:
        raise MalformedResponseError("a list without its end")
    return root


def _add_text(stack: list[list[Value]], text: bytes, position: int) -> None:
    values = stack[-1]
    for token in _TOKEN.finditer(text, position):
        kind = token.lastindex
        if kind == _ATOM:
            values.append(Atom(token[kind]) if token[kind].upper() != b"NIL" else None)
        elif kind == _OPEN:
            values = _open(stack)
        elif kind == _CLOSE:
            values = _close(stack)
        elif kind == _QUOTED:
            values.append(_ESCAPED.sub(rb"\1", token[kind]))
        elif kind == _OTHER:
            raise MalformedResponseError("a string without its end")


def _open(stack: list[list[Value]]) -> list[Value]:
    if len(stack) > _DEEPEST:
        raise MalformedResponseError("lists are nested too deeply")
    inner: list[Value] = []
    stack[-1].append(inner)
    stack.append(inner)
    return inner


def _close(stack: list[list[Value]]) -> list[Value]:
    if len(stack) == 1:
        raise MalformedResponseError("the end of a list without its beginning")
    stack.pop()
    return stack[-1]


def text_of(value: Value) -> bytes | None:
    """Return an atom or a string; None for NIL and all else."""
    return value if isinstance(value, bytes) else None


def number_of(value: Value) -> int | None:
    """Return a number, which some servers write as 9.3736e+06; None for what is none, negative, or above number64."""
    if not isinstance(value, bytes) or len(value) > 20:
        return None
    try:
        number = int(value) if value.isdigit() else int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= _HIGHEST else None


def pairs_of(value: Value) -> dict[str, Value]:
    """Return a list of names and values as a mapping, names in upper case. Of a name that stands twice the last counts.

    Raises MalformedResponseError.
    """
    if not isinstance(value, list):
        raise MalformedResponseError("a list is missing")
    found: dict[str, Value] = {}
    for name, given in zip(value[::2], value[1::2], strict=False):
        if not isinstance(name, bytes):
            raise MalformedResponseError("a name is missing")
        found[name.decode("ascii", "replace").upper()] = given
    return found
