"""Gmail's search language: terms, phrases, groups, OR and negation. Terms that the sandbox does not know are ignored.

Source: https://support.google.com/mail/answer/7190
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from services.sandbox.google.gmail.errors import CallRefusedError, invalid_argument
from services.sandbox.google.gmail.search_terms import Known, Test, read_term
from services.sandbox.mailboxes.mailbox import Mailbox, Message

DEEPEST = 50
"""Levels of brackets within each other; a query with more is refused."""

_TOKEN = re.compile(r'\s*(?:(-(?=[^\s)}]))|([(){}])|([a-z0-9_]+):(?=[^\s)}])|"([^"]*)"?|([^\s(){}"]+))', re.IGNORECASE)
_CLOSING = {"(": ")", "{": "}"}


@dataclass(frozen=True, slots=True)
class Search:
    """A compiled query. `reads_content`: it parses the messages, which is slow."""

    test: Test | None = None
    reads_content: bool = False
    everywhere: bool = False
    """Whether the query includes Spam and Trash."""

    def matches(self, mailbox: Mailbox, message: Message) -> bool:
        """Return whether the message matches."""
        return self.test is None or self.test(mailbox, message)


def compile_query(query: str, *, mailbox: Mailbox, me: Collection[str], now_ms: int) -> Search:
    """Compile a `q` parameter; `me` are the user's own addresses. Raises CallRefusedError (400) for too many levels."""
    parser = _Parser(list(_tokenise(query)), Known(labels=mailbox.labels, me=me, now_ms=now_ms))
    return Search(parser.read_query(), parser.reads_content, parser.everywhere)


@dataclass(frozen=True, slots=True)
class _Token:
    """A sign (`-`, a bracket), the name of an operator, or text."""

    kind: str
    text: str


def _tokenise(query: str) -> Iterator[_Token]:
    for sign, bracket, operator, phrase, word in _TOKEN.findall(query):
        if sign or bracket:
            yield _Token("sign", sign or bracket)
        elif operator:
            yield _Token("operator", operator.lower())
        elif word in ("OR", "|", "AND"):
            yield _Token("sign", "AND" if word == "AND" else "OR")
        else:
            yield _Token("text", phrase or word)


class _Parser:
    """Reads a query by recursive descent. A term that is ignored is None, and so is a group of such terms."""

    def __init__(self, tokens: Sequence[_Token], known: Known) -> None:
        self.reads_content = False
        self.everywhere = False
        self._tokens = tokens
        self._known = known
        self._at = 0
        self._depth = 0
        self._is_negated = False

    def read_query(self) -> Test | None:
        """Read everything; a closing bracket that nothing opens is passed over."""
        tests = []
        while self._at < len(self._tokens):
            tests.append(self._read_all("", ""))
            self._at += 1
        return _join(all, tests)

    def _is_next(self, *signs: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at] in [_Token("sign", sign) for sign in signs]

    def _is_next_operator(self) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at].kind == "operator"

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _skips(self, sign: str) -> bool:
        skips = self._is_next(sign)
        self._at += skips
        return skips

    def _read_all(self, operator: str, opening: str) -> Test | None:
        """Read up to a closing bracket: in parentheses all must match, in braces any."""
        tests = []
        while self._at < len(self._tokens) and not self._is_next(")", "}"):
            if not (self._skips("OR") or self._skips("AND")):
                tests.append(self._read_either(operator))
        return _join(any if opening == "{" else all, tests)

    def _read_either(self, operator: str) -> Test | None:
        tests = [self._read_item(operator)]
        while self._skips("OR"):
            if self._at < len(self._tokens) and not self._is_next(")", "}"):
                tests.append(self._read_item(operator))
        return _join(any, tests)

    def _read_item(self, operator: str) -> Test | None:
        is_negated = False
        while self._is_next("-") or self._is_next_operator():
            token = self._take()
            is_negated ^= token.kind == "sign"
            operator = token.text if token.kind == "operator" else operator
        if self._at == len(self._tokens):
            return None
        self._is_negated ^= is_negated
        token = self._take()
        is_group = token.kind == "sign" and token.text in _CLOSING
        test = self._read_group(operator, token.text) if is_group else self._read_term(operator, token.text)
        self._is_negated ^= is_negated
        return _negate(test) if test is not None and is_negated else test

    def _read_group(self, operator: str, opening: str) -> Test | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise CallRefusedError(invalid_argument("Invalid query"))
        test = self._read_all(operator, opening)
        self._skips(_CLOSING[opening])
        self._depth -= 1
        return test

    def _read_term(self, operator: str, text: str) -> Test | None:
        term = read_term(operator, text, self._known)
        self.reads_content |= term.test is not None and term.reads_content
        self.everywhere |= term.everywhere and not self._is_negated
        return term.test


def _negate(test: Test) -> Test:
    return lambda mailbox, message: not test(mailbox, message)


def _join(combine: Callable[[Iterator[bool]], bool], tests: Sequence[Test | None]) -> Test | None:
    said = [test for test in tests if test is not None]
    if len(said) < 2:
        return said[0] if said else None
    return lambda mailbox, message: combine(test(mailbox, message) for test in said)
