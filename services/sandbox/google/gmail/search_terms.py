"""The single terms of Gmail's search language.

Words and phrases match subject, addresses and snippet. Gmail's dates begin at midnight Pacific time; here at UTC-8.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import getaddresses

from services.sandbox.mailboxes.labels import Label
from services.sandbox.mailboxes.mailbox import Mailbox, Message
from services.sandbox.mime.content import snippet_of
from services.sandbox.mime.part_tree import Part

type Test = Callable[[Mailbox, Message], bool]

_WORD = re.compile(r"\w+")
_SIZE = re.compile(r"(\d{1,12})([kmg]?)b?", re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SPAN = {"h": 3_600_000, "d": 86_400_000, "m": 30 * 86_400_000, "y": 365 * 86_400_000}
_PACIFIC_MS = 8 * 3_600_000
_LABELS_BY_FOLDER = {"chats": "CHAT", "drafts": "DRAFT"}
_STATES = {"unread": "UNREAD", "starred": "STARRED", "important": "IMPORTANT"}
_BEYOND_DEFAULT = ("anywhere", "spam", "trash")
_PEOPLE = {"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "deliveredto": "delivered-to"}
_HEADERS = {**_PEOPLE, "subject": "subject", "list": "list-id"}


@dataclass(frozen=True, slots=True)
class Known:
    """The context that decides the meaning of a term: the mailbox's labels by id, the user's addresses, the time."""

    labels: Mapping[str, Label]
    me: Collection[str]
    now_ms: int


@dataclass(frozen=True, slots=True)
class Term:
    """One term. `test` is None if it is ignored; `reads_content`: it parses the message, which is slow."""

    test: Test | None
    reads_content: bool = False
    everywhere: bool = False
    """Whether it names Spam or Trash, which listings leave out by default."""


def read_term(operator: str, value: str, known: Known) -> Term:
    """Read the value of an operator, "" for a plain word or phrase."""
    lowered = value.lower()
    match operator:
        case "label" | "in":
            return Term(_place(operator, lowered, known), everywhere=lowered in _BEYOND_DEFAULT)
        case "is":
            return Term(_state(lowered))
        case "category":
            return Term(_has_label(f"category_{'personal' if lowered == 'primary' else lowered}", known))
        case "after" | "newer" | "newer_than":
            return Term(_after(_edge(operator, lowered, known)))
        case "before" | "older" | "older_than":
            return Term(_before(_edge(operator, lowered, known)))
        case "size" | "larger" | "smaller":
            return Term(_size(operator, lowered))
        case _:
            return Term(_content_test(operator, lowered, known), reads_content=True)


def _place(operator: str, name: str, known: Known) -> Test | None:
    """Return the test for a label, or a folder; a folder that does not exist is ignored."""
    if operator == "in" and name == "anywhere":
        return lambda _, __: True
    test = _has_label(_LABELS_BY_FOLDER.get(name, name), known)
    return (lambda _, __: False) if test is None and operator == "label" else test


def _has_label(name: str, known: Known) -> Test | None:
    """Return the test for a label by id or name; None if there is no such label."""
    wanted = _label_key(name)
    ids = {id_ for id_, label in known.labels.items() if wanted in (_label_key(id_), _label_key(label.name))}
    return (lambda _, message: not ids.isdisjoint(message.labels)) if ids else None


def _label_key(name: str) -> str:
    return name.lower().replace("-", " ").replace("/", " ")


def _state(value: str) -> Test | None:
    if value == "read":
        return lambda _, message: "UNREAD" not in message.labels
    wanted = _STATES.get(value)
    return None if wanted is None else lambda _, message: wanted in message.labels


def _edge(operator: str, value: str, known: Known) -> int | None:
    if not operator.endswith("_than"):
        return _moment(value)
    span = _span(value)
    return None if span is None else known.now_ms - span


def _after(edge: int | None) -> Test | None:
    return None if edge is None else lambda _, message: message.internal_date >= edge


def _before(edge: int | None) -> Test | None:
    return None if edge is None else lambda _, message: message.internal_date < edge


def _span(value: str) -> int | None:
    if len(value) < 2 or not value[:-1].isdecimal() or value[-1] not in _SPAN:
        return None
    return int(value[:-1]) * _SPAN[value[-1]]


def _moment(value: str) -> int | None:
    if value.isdecimal() and len(value) > 4:
        return int(value) * 1000
    try:
        year, month, day = (int(part) for part in re.split(r"[/-]", value))
        return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000) + _PACIFIC_MS
    except ValueError:
        return None


def _size(operator: str, value: str) -> Test | None:
    match = _SIZE.fullmatch(value)
    if match is None:
        return None
    edge = int(match[1]) * _UNITS[match[2]]
    if operator == "smaller":
        return lambda mailbox, message: mailbox.content(message).size() < edge
    return lambda mailbox, message: mailbox.content(message).size() > edge


def _content_test(operator: str, value: str, known: Known) -> Test | None:
    if operator in _PEOPLE and value == "me":
        return _is_me(_PEOPLE[operator], known)
    if operator == "rfc822msgid":
        return lambda mailbox, message: _header(_tree(mailbox, message), "message-id").strip("<>") == value.strip("<>")
    if operator == "has":
        return _has(value)
    words = _words(value)
    if not words.strip():
        return None
    if operator == "filename":
        return lambda mailbox, message: any(words in _words(name) for name in _filenames(_tree(mailbox, message)))
    if operator in _HEADERS:
        name = _HEADERS[operator]
        return lambda mailbox, message: words in _words(_header(_tree(mailbox, message), name))
    return None if operator else lambda mailbox, message: words in _words(_text(_tree(mailbox, message)))


def _is_me(header: str, known: Known) -> Test:
    """Return the test for the user's own addresses, tagged (`ada+news@example.com`) or not."""
    own = {address.lower() for address in known.me}

    def test(mailbox: Mailbox, message: Message) -> bool:
        named = [address for _, address in getaddresses([_header(_tree(mailbox, message), header)])]
        return any(re.sub(r"\+[^@]*", "", address) in own or address in own for address in named)

    return test


def _has(value: str) -> Test | None:
    match value:
        case "attachment":
            return lambda mailbox, message: any(_filenames(_tree(mailbox, message)))
        case "userlabels":
            return _has_user_labels
        case "nouserlabels":
            return lambda mailbox, message: not _has_user_labels(mailbox, message)
        case _:
            return None


def _has_user_labels(mailbox: Mailbox, message: Message) -> bool:
    return any(label.id in message.labels for label in mailbox.labels.values() if not label.is_system)


def _tree(mailbox: Mailbox, message: Message) -> Part:
    return mailbox.content(message).tree()


def _header(tree: Part, name: str) -> str:
    return (tree.header(name) or "").lower()


def _text(tree: Part) -> str:
    return " ".join([*(_header(tree, name) for name in ("subject", "from", "to", "cc")), snippet_of(tree)]).lower()


def _words(text: str) -> str:
    """Write the words of a text with one space around each, so that a part of it is a run of whole words."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def _filenames(tree: Part) -> Iterator[str]:
    pending = [tree]
    while pending:
        part = pending.pop()
        if part.filename:
            yield part.filename
        pending += part.parts
