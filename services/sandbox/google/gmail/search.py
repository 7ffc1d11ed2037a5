"""The part of Gmail's search language that synchronising clients use; everything else is ignored.

Words and phrases match subject, addresses and snippet. Gmail's dates begin at midnight Pacific time; here at UTC-8.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.sandbox.mailboxes.mailbox import Mailbox, Message
from services.sandbox.mime.content import snippet_of

Test = Callable[[Mailbox, Message], bool]
_TERM = re.compile(r'(-?)(?:([a-z0-9_]+):)?(?:"([^"]*)"|(\S+))', re.IGNORECASE)
_SPAN = {"h": 3_600_000, "d": 86_400_000, "m": 30 * 86_400_000, "y": 365 * 86_400_000}
_PACIFIC_MS = 8 * 3_600_000
_LABELS_BY_FOLDER = {
    "chats": "CHAT",
    "inbox": "INBOX",
    "sent": "SENT",
    "spam": "SPAM",
    "trash": "TRASH",
    "drafts": "DRAFT",
    "draft": "DRAFT",
}
_HEADERS = {"from": "from", "to": "to", "cc": "cc", "subject": "subject", "list": "list-id"}


@dataclass(frozen=True, slots=True)
class Search:
    """A compiled query. `reads_content`: predicates parse the messages, which is slow."""

    tests: tuple[Test, ...] = ()
    reads_content: bool = False
    everywhere: bool = False
    """Whether the query includes Spam and Trash."""

    def matches(self, mailbox: Mailbox, message: Message) -> bool:
        """Return whether the message matches."""
        return all(test(mailbox, message) for test in self.tests)


def compile_query(query: str, *, now_ms: int) -> Search:
    """Compile a `q` parameter."""
    tests: list[Test] = []
    reads_content = everywhere = False
    for sign, operator, phrase, word in _TERM.findall(query):
        value = phrase or word
        everywhere |= operator.lower() == "in" and value.lower() in ("anywhere", "spam", "trash")
        test = _cheap_test(operator.lower(), value, now_ms)
        if test is None and value not in ("OR", "AND", "{", "}"):
            test = _content_test(operator.lower(), value)
            reads_content |= test is not None
        if test is not None:
            tests.append(_negated(test) if sign else test)
    return Search(tuple(tests), reads_content, everywhere)


def _negated(test: Test) -> Test:
    return lambda mailbox, message: not test(mailbox, message)


def _has_label(name: str) -> Test:
    wanted = name.lower().replace("-", " ").replace("/", " ")

    def test(mailbox: Mailbox, message: Message) -> bool:
        return any(
            label.lower() == name.lower()
            or (
                (known := mailbox.labels.get(label)) is not None
                and known.name.lower().replace("-", " ").replace("/", " ") == wanted
            )
            for label in message.labels
        )

    return test


def _cheap_test(operator: str, value: str, now_ms: int) -> Test | None:
    lowered = value.lower()
    match operator:
        case "label":
            return _has_label(value)
        case "in":
            return (lambda _, __: True) if lowered == "anywhere" else _has_label(_LABELS_BY_FOLDER.get(lowered, value))
        case "is":
            return _state(lowered)
        case "category":
            return _has_label(f"CATEGORY_{'PERSONAL' if lowered == 'primary' else lowered.upper()}")
        case "after" | "newer":
            return _after(_moment(value))
        case "before" | "older":
            return _before(_moment(value))
        case "newer_than" | "older_than":
            span = _span(lowered)
            edge = None if span is None else now_ms - span
            return _after(edge) if operator == "newer_than" else _before(edge)
        case _:
            return None


def _state(value: str) -> Test | None:
    if value == "read":
        return lambda _, message: "UNREAD" not in message.labels
    wanted = value.upper()
    if wanted in ("UNREAD", "STARRED", "IMPORTANT"):
        return lambda _, message: wanted in message.labels
    return None


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


def _content_test(operator: str, value: str) -> Test | None:
    wanted = value.lower()
    if operator == "rfc822msgid":
        bare = wanted.strip("<>")
        return lambda mailbox, message: _header(mailbox, message, "message-id").strip("<>") == bare
    if operator == "has":
        return _has_attachment if wanted == "attachment" else None
    if operator in _HEADERS:
        name = _HEADERS[operator]
        return lambda mailbox, message: wanted in _header(mailbox, message, name)
    if operator:
        return None
    return lambda mailbox, message: wanted in _words(mailbox, message)


def _header(mailbox: Mailbox, message: Message, name: str) -> str:
    return (mailbox.content(message).tree().header(name) or "").lower()


def _words(mailbox: Mailbox, message: Message) -> str:
    tree = mailbox.content(message).tree()
    headers = (tree.header(name) or "" for name in ("subject", "from", "to", "cc"))
    return " ".join([*headers, snippet_of(tree)]).lower()


def _has_attachment(mailbox: Mailbox, message: Message) -> bool:
    pending = [mailbox.content(message).tree()]
    while pending:
        part = pending.pop()
        if part.filename:
            return True
        pending += part.parts
    return False
