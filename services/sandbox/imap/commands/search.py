"""SEARCH (RFC 9051, section 6.4.4; RETURN of RFC 4731)."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

from services.sandbox.imap import sequence_set
from services.sandbox.imap.errors import BadError
from services.sandbox.imap.flags import KEYWORD, flags_of
from services.sandbox.imap.session import Session
from services.sandbox.imap.wire import Command, Token, atom
from services.sandbox.mailboxes.mailbox import Message

# Other connections run after so many messages.
_BREATH = 500
_FLAG_KEYS = {
    "ANSWERED": "\\Answered",
    "DELETED": "\\Deleted",
    "DRAFT": "\\Draft",
    "FLAGGED": "\\Flagged",
    "SEEN": "\\Seen",
}

type Entry = tuple[int, int, Message]
type Test = Callable[[Entry], bool]


async def search(session: Session, command: Command, *, by_uid: bool = False) -> str:
    """SEARCH and UID SEARCH."""
    view, arguments, wanted = session.view, list(command.arguments), None
    if arguments and isinstance(arguments[0], str) and arguments[0].upper() == "RETURN":
        if not session.profile.has("ESEARCH") or len(arguments) < 2 or not isinstance(arguments[1], list):
            raise BadError("RETURN is not offered")
        wanted = [atom(each).upper() for each in arguments[1]] or ["ALL"]
        arguments = arguments[2:]
    if arguments and isinstance(arguments[0], str) and arguments[0].upper() == "CHARSET":
        arguments = arguments[2:]
    tests = list(Keys(session, arguments).tests())
    hits = []
    for position, entry in enumerate(view.find("1:*", by_uid=True) if view.uids else []):
        if all(test(entry) for test in tests):
            hits.append(entry[1] if by_uid else entry[0])
        if position % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
    if wanted is None:
        await session.send(f"* SEARCH {' '.join(map(str, hits))}".rstrip())
    else:
        await session.send(_extended(command.tag, hits, wanted, by_uid=by_uid))
    await session.send_changes(expunges=by_uid)
    return "SEARCH Completed."


def _extended(tag: str, hits: list[int], wanted: list[str], *, by_uid: bool) -> str:
    values = {"COUNT": str(len(hits))}
    if hits:
        values |= {"MIN": str(hits[0]), "MAX": str(hits[-1]), "ALL": sequence_set.compact(hits)}
    parts = [f"{name} {values[name]}" for name in wanted if name in values]
    return " ".join([f'* ESEARCH (TAG "{tag}")', *(["UID"] if by_uid else []), *parts])


class Keys:
    """The search keys of a command, read one after the other."""

    def __init__(self, session: Session, tokens: list[Token]) -> None:
        self._session = session
        self._tokens = tokens
        self._position = 0

    def tests(self) -> Iterator[Test]:
        """Yield a test for each key; all of them must hold. Raises BadError."""
        if not self._tokens:
            raise BadError("SEARCH takes a key")
        while self._position < len(self._tokens):
            yield self._test()

    def _next(self) -> Token:
        if self._position >= len(self._tokens):
            raise BadError("a key lacks its argument")
        self._position += 1
        return self._tokens[self._position - 1]

    def _text(self) -> str:
        return atom(self._next())

    def _test(self) -> Test:
        token = self._next()
        if isinstance(token, list):
            tests = list(Keys(self._session, token).tests())
            return lambda entry: all(test(entry) for test in tests)
        key = atom(token).upper()
        if sequence_set.is_set(key):
            return self._numbers(key, by_uid=False)
        return self._of_state(key) or self._of_time_and_size(key) or self._of_text(key) or _unknown(key)

    def _of_state(self, key: str) -> Test | None:
        negated = key.startswith("UN")
        name = key.removeprefix("UN") if negated else key
        if name in _FLAG_KEYS:
            flag = _FLAG_KEYS[name]
            return lambda entry: (flag in flags_of(entry[2].labels)) is not negated
        if name == "KEYWORD":
            label = KEYWORD + self._text()
            return lambda entry: (label in entry[2].labels) is not negated
        match key:
            case "ALL" | "OLD":
                return lambda _: True
            case "NEW" | "RECENT":
                return lambda _: False
            case "NOT":
                inner = self._test()
                return lambda entry: not inner(entry)
            case "OR":
                first, second = self._test(), self._test()
                return lambda entry: first(entry) or second(entry)
            case "UID":
                return self._numbers(self._text(), by_uid=True)
            case "MODSEQ" if self._session.profile.has("CONDSTORE"):
                least, folder = int(self._text()), self._session.view.folder
                return lambda entry: folder.modseq_of(entry[1]) >= least
            case _:
                return None

    def _numbers(self, text: str, *, by_uid: bool) -> Test:
        try:
            members = {uid for _, uid, _ in self._session.view.find(text, by_uid=by_uid)}
        except (ValueError, IndexError) as error:
            raise BadError("malformed set") from error
        return lambda entry: entry[1] in members

    def _of_time_and_size(self, key: str) -> Test | None:
        if key in ("LARGER", "SMALLER"):
            bound, folders, larger = int(self._text()), self._session.folders, key == "LARGER"
            return lambda entry: (size := folders.size_of(entry[2])) != bound and (size > bound) is larger
        comparison = key.removeprefix("SENT")
        if comparison not in ("BEFORE", "ON", "SINCE"):
            return None
        day, day_of = _day(self._text()), self._sent if key.startswith("SENT") else _arrived
        match comparison:
            case "BEFORE":
                return lambda entry: day_of(entry[2]) < day
            case "ON":
                return lambda entry: day_of(entry[2]) == day
            case _:
                return lambda entry: day_of(entry[2]) >= day

    def _of_text(self, key: str) -> Test | None:
        if key in ("FROM", "TO", "CC", "BCC", "SUBJECT"):
            return self._header(key, self._text())
        if key == "HEADER":
            name, wanted = self._text(), self._text()
            return self._header(name, wanted)
        if key in ("BODY", "TEXT"):
            wanted_bytes, mailbox = self._text().encode("latin-1").lower(), self._session.folders.mailbox
            return lambda entry: wanted_bytes in mailbox.content(entry[2]).raw().lower()
        return None

    def _header(self, name: str, wanted: str) -> Test:
        if not self._session.profile.searches_headers:
            return lambda _: False
        text, mailbox = wanted.encode("latin-1").decode("utf-8", "replace").lower(), self._session.folders.mailbox
        return lambda entry: text in (mailbox.content(entry[2]).tree().header(name) or "\x00").lower()

    def _sent(self, message: Message) -> date:
        value = self._session.folders.mailbox.content(message).tree().header("Date")
        try:
            return parsedate_to_datetime(value or "").date()
        except (ValueError, TypeError, IndexError):
            return _arrived(message)


def _unknown(key: str) -> Test:
    raise BadError(f"unknown key {key}")


def _arrived(message: Message) -> date:
    return datetime.fromtimestamp(message.internal_date / 1000, UTC).date()


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%d-%b-%Y").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise BadError("malformed date") from error
