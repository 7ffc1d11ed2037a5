"""The query language, by recursive descent.

    query    = { either [ "AND" ] }                all of them
    either   = item { "OR" item }                  OR binds closer than a space
    item     = "-" item | group | [ operator ] word | [ operator ] phrase | operator group
    group    = "(" query ")" | "{" { item } "}"    braces: one of them

docs/search.md is the user's manual, and names its source.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from services.mail.content.text.indexable import indexable
from services.mail.search.addresses import split_address
from services.mail.search.operators import FIELDS, OPERATORS, condition_of
from services.mail.search.syntax import EVERYTHING, NOTHING, And, HasAddress, InDomain, Node, Not, Or, Text
from services.mail.search.terms import query_terms
from services.mail.search.tokens import Sign, Token, invalid_query, tokenise
from services.mail.search.vector import PEOPLE, Field

DEEPEST = 20
"""Levels of brackets and signs within each other."""

_CLOSING = {Sign.OPEN: Sign.CLOSE, Sign.OPEN_ANY: Sign.CLOSE_ANY}
_VALUES = (Sign.WORD, Sign.PHRASE, Sign.AND, Sign.OR)


def parse(query: str, *, now: datetime, me: Collection[str]) -> Node:
    """Return the condition of a query. newer_than: counts from `now`; from:me means the addresses `me`, tagged or not.

    Words without a letter or digit are ignored; a query of nothing else finds nothing. Raises AppError invalid_query
    with `column`, counted from 1.
    """
    parser = _Parser(list(tokenise(query, operators=OPERATORS)), now=now, me=me)
    return parser.whole() or (NOTHING if query.strip() else EVERYTHING)


class _Parser:
    def __init__(self, tokens: list[Token], *, now: datetime, me: Collection[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._now = now
        self._me = me

    def whole(self) -> Node | None:
        node = self._query(None)
        if self._next.sign is not Sign.END:
            raise invalid_query(f"nothing opens this {self._next.text}", self._next.column)
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _query(self, field: Field | None) -> Node | None:
        nodes: list[Node | None] = []
        while self._next.sign not in (Sign.CLOSE, Sign.CLOSE_ANY, Sign.END):
            nodes.append(self._either(field))
            if self._next.sign is Sign.AND:
                self._binary()
        return _joined(And, nodes)

    def _either(self, field: Field | None) -> Node | None:
        nodes = [self._item(field)]
        while self._next.sign is Sign.OR:
            self._binary()
            nodes.append(self._item(field))
        return _joined(Or, nodes)

    def _binary(self) -> None:
        token = self._take()
        if self._next.sign in (Sign.AND, Sign.OR, Sign.CLOSE, Sign.CLOSE_ANY, Sign.END):
            raise invalid_query(f"{token.text} needs something on both sides", token.column)

    def _item(self, field: Field | None) -> Node | None:
        token = self._take()
        match token.sign:
            case Sign.NOT:
                node = self._deeper(token, field)
                return None if node is None else Not(node)
            case Sign.OPEN | Sign.OPEN_ANY:
                return self._deeper(token, field)
            case Sign.OPERATOR:
                return self._operator(token)
            case Sign.WORD | Sign.PHRASE:
                return self._text(field, token)
            case _:
                raise invalid_query(f"{token.text} needs something on both sides", token.column)

    def _deeper(self, token: Token, field: Field | None) -> Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise invalid_query(f"more than {DEEPEST} levels", token.column)
        node = self._item(field) if token.sign is Sign.NOT else self._group(token, field)
        self._depth -= 1
        return node

    def _group(self, opening: Token, field: Field | None) -> Node | None:
        node = self._query(field) if opening.sign is Sign.OPEN else self._alternatives(field)
        if self._next.sign is not _CLOSING[opening.sign]:
            raise invalid_query(f"this {opening.text} is not closed", opening.column)
        self._take()
        return node

    def _alternatives(self, field: Field | None) -> Node | None:
        nodes: list[Node | None] = []
        while self._next.sign not in (Sign.CLOSE, Sign.CLOSE_ANY, Sign.END):
            nodes.append(self._either(field))
        return _joined(Or, nodes)

    def _operator(self, operator: Token) -> Node | None:
        token = self._next
        if token.column != operator.column + len(operator.text) + 1 or token.sign not in (*_VALUES, *_CLOSING):
            raise invalid_query(f"{operator.text}: needs a value right behind it", operator.column)
        self._take()
        field = FIELDS.get(operator.text)
        if token.sign in _CLOSING:
            if field is None:
                raise invalid_query(f"{operator.text}: takes one value, not a group", token.column)
            return self._deeper(token, field)
        if field is None:
            return condition_of(operator.text, token, now=self._now)
        return self._text(field, token)

    def _text(self, field: Field | None, token: Token) -> Node | None:
        starts = token.sign is Sign.WORD and token.text.endswith("*")
        person = self._person(field, token.text) if field in PEOPLE and not starts else None
        if person is not None:
            return person
        # A message's encoded runs are not indexed; a query of nothing else finds nothing, rather than everything.
        terms = query_terms(indexable(token.text), prefix=starts) or query_terms(token.text)
        return Text(field, tuple(terms)) if terms else None

    def _person(self, field: Field, text: str) -> Node | None:
        if text.lower() == "me":
            return _joined(Or, [HasAddress(field, address, tagged=True) for address in self._me])
        address = split_address(text)
        if address is None:
            return None
        local, domain = address
        return HasAddress(field, f"{local}@{domain}") if local else InDomain(field, domain)


def _joined(kind: type[And] | type[Or], nodes: Sequence[Node | None]) -> Node | None:
    """Join the nodes; one that is there twice is looked up once."""
    said = tuple(dict.fromkeys(node for node in nodes if node is not None))
    return kind(said) if len(said) > 1 else next(iter(said), None)
