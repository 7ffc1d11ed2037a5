"""Queries as text, and the errors of those that cannot be understood."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import AppError, Kind
from services.mail.marks import Mark
from services.mail.model import Role
from services.mail.search.parser import parse
from services.mail.search.syntax import (
    EVERYTHING,
    NOTHING,
    And,
    HasAddress,
    HasAttachment,
    HasLabel,
    HasMark,
    HasRole,
    InCategory,
    InDomain,
    MessageId,
    Node,
    Not,
    Or,
    Received,
    Size,
    Text,
)
from services.mail.search.terms import Term
from services.mail.search.vector import Field

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def parsed(query: str) -> Node:
    return parse(query, now=NOW, me=["ada@example.com"])


def text(*words: str, field: Field | None = None) -> Text:
    return Text(field, tuple(Term(word, offset) for offset, word in enumerate(words)))


class TestMeaning:
    @pytest.mark.parametrize(
        ("query", "meaning"),
        [
            ("", EVERYTHING),
            ("  ", EVERYTHING),
            ("!!! -()", NOTHING),
            ("?!", NOTHING),
            ("()", NOTHING),
            ("from:!!!", NOTHING),
            ("is:unread !!!", Not(HasMark(Mark.SEEN))),
            ("Re: a", And((text("re"), text("a")))),
            ("C:\\mail", text("c", "mail")),
            ("std::map", text("std", "map")),
            ('"note:later"', text("note", "later")),
            ("Invoice", text("invoice")),
            ("a b", And((text("a"), text("b")))),
            ("a AND b", And((text("a"), text("b")))),
            ("a OR b", Or((text("a"), text("b")))),
            ("a b OR c", And((text("a"), Or((text("b"), text("c")))))),
            ("(a b) OR c", Or((And((text("a"), text("b"))), text("c")))),
            ("{a b c}", Or((text("a"), text("b"), text("c")))),
            ("a b a", And((text("a"), text("b")))),
            ("a A* a*", And((text("a"), Text(None, (Term("a", 0, prefix=True),))))),
            ("a OR b OR A", Or((text("a"), text("b")))),
            ("{é e}", text("e")),
            ("-a -a", Not(text("a"))),
            ("-a", Not(text("a"))),
            ("-(a b)", Not(And((text("a"), text("b"))))),
            ('"a b"', text("a", "b")),
            ('-"a b"', Not(text("a", "b"))),
            ("“a b”", text("a", "b")),
            ("from:“a b”", text("a", "b", field=Field.FROM)),
            ("“a b", And((text("a"), text("b")))),
            ("a-b", text("a", "b")),
            ("or and", And((text("or"), text("and")))),
            ("inv*", Text(None, (Term("inv", 0, prefix=True),))),
            ("10:30", text("10", "30")),
            ("https://example.com", text("https", "example", "com")),
            ("subject:hello", text("hello", field=Field.SUBJECT)),
            ("SUBJECT:hello", text("hello", field=Field.SUBJECT)),
            ('subject:"a b"', text("a", "b", field=Field.SUBJECT)),
            ("from:(a OR b)", Or((text("a", field=Field.FROM), text("b", field=Field.FROM)))),
            ("subject:{a from:b}", Or((text("a", field=Field.SUBJECT), text("b", field=Field.FROM)))),
            ("to:me", HasAddress(Field.TO, "ada@example.com", tagged=True)),
            ("from:ann@example.com", HasAddress(Field.FROM, "ann@example.com")),
            ("from:<Ann@Example.com>,", text("ann", "example", "com", field=Field.FROM)),
            ("from:<Ann@Example.com>", HasAddress(Field.FROM, "Ann@Example.com")),
            ('bcc:"ann@example.com."', HasAddress(Field.BCC, "ann@example.com")),
            ("from:ann@[IPv6:2001:db8::1]", HasAddress(Field.FROM, "ann@[IPv6:2001:db8::1]")),
            ("cc:@example.com", InDomain(Field.CC, "example.com")),
            ("to:ann@localhost", text("ann", "localhost", field=Field.TO)),
            ('from:"Ann <ann@example.com>"', text("ann", "ann", "example", "com", field=Field.FROM)),
            ("from:ann@example.c*", Text(Field.FROM, (Term("ann", 0), Term("example", 1), Term("c", 2, prefix=True)))),
            ("subject:ann@example.com", text("ann", "example", "com", field=Field.SUBJECT)),
            ("ann@example.com", text("ann", "example", "com")),
            ("subject:me", text("me", field=Field.SUBJECT)),
            (
                "from:(me OR b)",
                Or((HasAddress(Field.FROM, "ada@example.com", tagged=True), text("b", field=Field.FROM))),
            ),
            ("subject:OR", text("or", field=Field.SUBJECT)),
            ("from:a@b.c", HasAddress(Field.FROM, "a@b.c")),
            ('label:"My label"', HasLabel("My label")),
            ("in:Inbox", HasRole(Role.INBOX, ("inbox",))),
            ("in:none", HasLabel("none")),
            ("in:anywhere", EVERYTHING),
            ("in:draft", HasRole(Role.DRAFTS, ("draft", "drafts"))),
            ("in:drafts", HasRole(Role.DRAFTS, ("draft", "drafts"))),
            ("has:attachment", HasAttachment()),
            ("is:unread", Not(HasMark(Mark.SEEN))),
            ("is:read", HasMark(Mark.SEEN)),
            ("is:starred", HasMark(Mark.FLAGGED)),
            ("is:important", HasMark(Mark.IMPORTANT)),
            ("in:unread", Not(HasMark(Mark.SEEN))),
            ("in:important", HasLabel("important")),
            ("category:promotions", InCategory("promotions")),
            ("after:2026/01/31", Received(since=datetime(2026, 1, 31, tzinfo=UTC))),
            ("before:2026-1-31", Received(until=datetime(2026, 1, 31, tzinfo=UTC))),
            ("after:1767225600", Received(since=datetime(2026, 1, 1, tzinfo=UTC))),
            ("newer_than:2d", Received(since=NOW - timedelta(days=2))),
            ("older_than:1y", Received(until=NOW - timedelta(days=365))),
            ("larger:10M", Size(above=10 << 20)),
            ("smaller:500", Size(below=500)),
            ("larger:999999999999G", Size(above=2**63 - 1)),
            ("rfc822msgid:<a+b@c>", MessageId("<a+b@c>")),
        ],
    )
    def test_a_query_means(self, query: str, meaning: Node) -> None:
        assert parsed(query) == meaning


class TestMistakes:
    @pytest.mark.parametrize(
        ("query", "column"),
        [
            ('say "hello', 5),
            ("(a b", 1),
            ("a )", 3),
            ("{a)", 1),
            ("a OR", 3),
            ("OR a", 1),
            ("a OR OR b", 3),
            ("a AND", 3),
            ("from: ada", 1),
            ("x from:", 3),
            ("is:sleeping", 4),
            ("form:ada", 1),
            ("a -nope:b", 4),
            ('x (note:"later")', 4),
            ("has:legs", 5),
            ("after:yesterday", 7),
            ("after:2026-02-30", 7),
            ("larger:huge", 8),
            ("newer_than:2w", 12),
            ("label:(a b)", 7),
            ("привет (a", 8),
            ("(" * 30 + "a" + ")" * 30, 21),
            ("-" * 30 + "a", 21),
        ],
    )
    def test_the_column_of_a_mistake_is_named(self, query: str, column: int) -> None:
        with pytest.raises(AppError) as caught:
            parsed(query)
        assert (caught.value.kind, caught.value.reason) == (Kind.INVALID, "invalid_query")
        assert caught.value.metadata == {"column": str(column)}
        assert f"column {column}:" in caught.value.message

    @given(query=st.one_of(st.text(), st.text(alphabet='ab(){}"-:* ORAND2/')))
    def test_whatever_is_typed_is_either_understood_or_refused(self, query: str) -> None:
        with suppress(AppError):
            parsed(query)

    @given(query=st.text(alphabet='ab(){}"-:* ORAND2/').filter(lambda query: query.count('"') % 2 == 1))
    def test_the_column_lies_in_the_query(self, query: str) -> None:
        with pytest.raises(AppError) as caught:
            parsed(query)
        assert 1 <= int(caught.value.metadata["column"]) <= len(query) + 1
