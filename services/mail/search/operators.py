"""The operators of the query language and the values they take."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from services.mail.marks import Mark
from services.mail.model import Role
from services.mail.search.syntax import (
    And,
    HasAttachment,
    HasLabel,
    HasMark,
    HasRole,
    InCategory,
    MessageId,
    Node,
    Not,
    Received,
    Size,
)
from services.mail.search.tokens import Token, invalid_query
from services.mail.search.vector import Field

FIELDS: Mapping[str, Field] = {
    "subject": Field.SUBJECT,
    "from": Field.FROM,
    "to": Field.TO,
    "cc": Field.CC,
    "bcc": Field.BCC,
    "filename": Field.FILENAME,
}
_STATES: Mapping[str, Node] = {
    "unread": Not(HasMark(Mark.SEEN)),
    "read": HasMark(Mark.SEEN),
    "starred": HasMark(Mark.FLAGGED),
    "important": HasMark(Mark.IMPORTANT),
}
_DRAFTS = HasRole(Role.DRAFTS, ("draft", "drafts"))
# What `in:` takes besides names of labels. Folders may be called "Important", so that is no state here.
_PLACES: Mapping[str, Node] = {
    **{state: _STATES[state] for state in ("unread", "read", "starred")},
    **{role.value: HasRole(role, (role.value,)) for role in Role if role is not Role.NONE},
    "draft": _DRAFTS,
    "drafts": _DRAFTS,
    "anywhere": And(),
}
_CATEGORIES: Mapping[str, Node] = {
    name: InCategory(name) for name in ("primary", "social", "promotions", "updates", "forums")
}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SPANS = {"h": timedelta(hours=1), "d": timedelta(days=1), "m": timedelta(days=30), "y": timedelta(days=365)}
_SIZE = re.compile(r"(\d{1,12})([kmg]?)b?", re.IGNORECASE | re.ASCII)
_SPAN = re.compile(r"(\d{1,6})([hdmy])", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})", re.ASCII)
_SECONDS = re.compile(r"\d{5,11}", re.ASCII)
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
# Postgres's bigint.
_LARGEST = 2**63 - 1


def _label(token: Token, _: datetime) -> Node:
    return HasLabel(token.text)


def _place(token: Token, _: datetime) -> Node:
    return _PLACES.get(token.text.lower()) or HasLabel(token.text)


def _one_of(choices: Mapping[str, Node]) -> Callable[[Token, datetime], Node]:
    def choose(token: Token, _: datetime) -> Node:
        node = choices.get(token.text.lower())
        if node is None:
            raise invalid_query(f"this is one of {', '.join(choices)}", token.column)
        return node

    return choose


def _size(token: Token) -> int:
    match = _SIZE.fullmatch(token.text)
    if match is None:
        raise invalid_query("a size is a number, then K, M or G if need be", token.column)
    return min(int(match[1]) * _UNITS[match[2].lower()], _LARGEST)


def _time(token: Token) -> datetime:
    try:
        if match := _DATE.fullmatch(token.text):
            year, month, day = map(int, match.groups())
            return datetime(year, month, day, tzinfo=UTC)
        if _SECONDS.fullmatch(token.text):
            return datetime.fromtimestamp(int(token.text), UTC)
    except (ValueError, OverflowError):
        raise invalid_query("there is no such day", token.column) from None
    raise invalid_query("a day is YYYY-MM-DD (or seconds since 1970)", token.column)


def _ago(token: Token, now: datetime) -> datetime:
    match = _SPAN.fullmatch(token.text)
    if match is None:
        raise invalid_query("a time span is a number and h, d, m or y", token.column)
    try:
        return now - int(match[1]) * _SPANS[match[2].lower()]
    except OverflowError:
        return _EARLIEST


_CONDITIONS: Mapping[str, Callable[[Token, datetime], Node]] = {
    "label": _label,
    "in": _place,
    "is": _one_of(_STATES),
    "has": _one_of({"attachment": HasAttachment()}),
    "category": _one_of(_CATEGORIES),
    "after": lambda token, _: Received(since=_time(token)),
    "before": lambda token, _: Received(until=_time(token)),
    "newer_than": lambda token, now: Received(since=_ago(token, now)),
    "older_than": lambda token, now: Received(until=_ago(token, now)),
    "larger": lambda token, _: Size(above=_size(token)),
    "smaller": lambda token, _: Size(below=_size(token)),
    "rfc822msgid": lambda token, _: MessageId(token.text),
}
# Other names of these, which people know from web mail.
_CONDITIONS = {**_CONDITIONS, "newer": _CONDITIONS["after"], "older": _CONDITIONS["before"]}

OPERATORS = frozenset((*FIELDS, *_CONDITIONS))


def condition_of(operator: str, token: Token, *, now: datetime) -> Node:
    """Return the condition of an operator that is not in FIELDS. Raises AppError invalid_query."""
    return _CONDITIONS[operator](token, now)
