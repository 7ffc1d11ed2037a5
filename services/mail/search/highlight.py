"""The words of a query marked in a text of a message."""

import re
import unicodedata
from collections.abc import Iterator
from html import escape

from services.mail.search.syntax import And, HasAddress, InDomain, Node, Or, Text
from services.mail.search.terms import Term, is_unspaced, runs_of, terms_of

BEFORE = 60
"""Characters shown before the first word found."""

LENGTH = 200
"""Characters shown in all."""

_SPACE = re.compile(r"\s+")

type _Span = tuple[int, int]


def wanted_terms(node: Node) -> set[Term]:
    """Return the terms of a query in any field, without those that it excludes; their offsets are 0."""
    match node:
        case Text(_, terms):
            return {Term(term.value, 0, term.prefix) for term in terms}
        case HasAddress(_, text) | InDomain(_, text):
            return {Term(value, 0) for value in terms_of(text)}
        case And(nodes) | Or(nodes):
            return {term for inner in nodes for term in wanted_terms(inner)}
        case _:
            return set()


def highlight(text: str, wanted: set[Term]) -> str | None:
    """Return the part of a text around the first word found, as HTML with <mark> around each; None if none is found."""
    text = unicodedata.normalize("NFC", _SPACE.sub(" ", text))
    found = next(_found(text, 0, wanted), None)
    if found is None:
        return None
    start = max(0, found[0] - BEFORE)
    # Begin with a whole word.
    start = 0 if start == 0 else text.find(" ", start, found[0]) + 1 or start
    end = min(len(text), start + LENGTH)
    marked = "".join(_marked(text, start, end, wanted))
    return f"{'…' if start else ''}{marked}{'…' if end < len(text) else ''}"


def _marked(text: str, start: int, end: int, wanted: set[Term]) -> Iterator[str]:
    at = start
    # Words are told in the whole text: the end may cut one in two.
    for first, last in _found(text, start, wanted):
        if first >= end:
            break
        if first > at:
            yield escape(text[at:first], quote=False)
        yield f"<mark>{escape(text[max(at, first) : min(last, end)], quote=False)}</mark>"
        at = last
    yield escape(text[at:end], quote=False)


def _found(text: str, start: int, wanted: set[Term]) -> Iterator[_Span]:
    """Yield the places of the words, from left to right; letters of unspaced scripts one pair after the other."""
    exact = {term.value for term in wanted if not term.prefix}
    prefixes = tuple(term.value for term in wanted if term.prefix)
    last = start
    for first, run in runs_of(text, start):
        if not is_unspaced(run):
            if any(term in exact or term.startswith(prefixes) for term in terms_of(run)):
                yield first, first + len(run)
            continue
        for place, term in enumerate(terms_of(run)):
            if term in exact or (prefixes and term.startswith(prefixes)):
                length = len(term) if term in exact else 1
                span = max(last, first + place), first + place + length
                last = span[1]
                if span[0] < span[1]:
                    yield span
