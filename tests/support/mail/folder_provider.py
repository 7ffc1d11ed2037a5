"""A made-up provider whose mailboxes have folders with roles, and messages with marks."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.mail.content import parse_raw
from services.mail.marks import Mark
from services.mail.model import HistoryDelta, Label, LabelChange, ListedId, Mailbox, ProviderMessage, Role
from services.mail.providers.base import FetchResult, Get, HistoryPage, IdPage, PartialMessage, Profile, Tokens, Writing
from services.mail.providers.errors import MessageGoneError
from services.mail.providers.limits import Bucket, CallCosts, Per, ProviderLimits

COSTS = CallCosts()
LIMITS = ProviderLimits(
    buckets=(Bucket(name="made_up_calls", per=Per.MAILBOX, limit=6_000, window=60),),
    costs=COSTS,
    concurrency=10,
    batch_units=10,
    longest_call=60.0,
)
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
_HIDDEN = (Role.SPAM, Role.TRASH)


@dataclass
class FolderMessage:
    """A message in a folder. `version` is the number of its last change."""

    folder: str
    marks: frozenset[Mark]
    raw: bytes
    received_at: datetime
    version: int = 0


@dataclass
class FolderMailbox:
    """The mailbox at the provider: folders by id, messages by id, and numbered changes of messages."""

    folders: Mapping[str, Label]
    messages: dict[str, FolderMessage] = field(default_factory=dict)
    changes: list[tuple[str, LabelChange | None]] = field(default_factory=list)

    def deliver(self, id_: str, folder: str, *marks: Mark, headers: Sequence[str] = ()) -> None:
        """Add a message, received an hour after the one before."""
        received_at = BEGIN + timedelta(hours=len(self.messages))
        lines = ("From: Bob <bob@example.net>", f"Subject: {id_}", *headers, "", "Hello", "")
        raw = "\r\n".join(lines).encode()
        self.messages[id_] = FolderMessage(folder, frozenset(marks), raw, received_at)
        self._record(id_, None)

    def move(self, id_: str, folder: str) -> None:
        """Move a message to another folder."""
        message = self.messages[id_]
        change = LabelChange(version=self._next, added=frozenset({folder}), removed=frozenset({message.folder}))
        message.folder = folder
        self._record(id_, change)

    def mark(self, id_: str, *, on: frozenset[Mark] = frozenset(), off: frozenset[Mark] = frozenset()) -> None:
        """Set and remove marks of a message."""
        message = self.messages[id_]
        message.marks = (message.marks | on) - off
        self._record(id_, LabelChange(version=self._next, marked=on, unmarked=off))

    @property
    def _next(self) -> int:
        return len(self.changes) + 1

    def _record(self, id_: str, change: LabelChange | None) -> None:
        self.changes.append((id_, change))
        self.messages[id_].version = len(self.changes)

    def shown(self, *, include_spam_trash: bool, folder: str | None) -> list[str]:
        """Return the ids of messages, newest first."""
        newest = sorted(self.messages, key=lambda id_: self.messages[id_].received_at, reverse=True)
        return [
            id_
            for id_ in newest
            if (include_spam_trash or self.folders[self.messages[id_].folder].role not in _HIDDEN)
            and folder in (None, self.messages[id_].folder)
        ]


class FolderSession:
    """A `MailboxSession` of a FolderMailbox."""

    def __init__(self, mailbox: FolderMailbox) -> None:
        self._mailbox = mailbox

    async def profile(self) -> Profile:
        """Return the number of the last change."""
        return Profile(cursor=len(self._mailbox.changes), message_count=len(self._mailbox.messages))

    async def version(self, external_id: str) -> int | None:
        """Return the number of the message's last change."""
        return self._mailbox.messages[external_id].version

    async def list_ids(
        self, *, page_token: str | None, page_size: int, include_spam_trash: bool, label_id: str | None = None
    ) -> IdPage:
        """Return all ids on one page."""
        del page_token
        ids = self._mailbox.shown(include_spam_trash=include_spam_trash, folder=label_id)
        return IdPage(
            listed=[ListedId(external_id=id_, thread_id=None) for id_ in ids[:page_size]], next_page_token=None
        )

    async def list_changes(self, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Return all changes after the cursor."""
        del page_token
        found = HistoryDelta()
        for number, (id_, change) in enumerate(self._mailbox.changes, 1):
            if number > cursor and change is None:
                found.added[id_] = number
            elif number > cursor and change is not None:
                found.labels.setdefault(id_, []).append(change)
        latest = len(self._mailbox.changes)
        return HistoryPage(changes=found, last_record=latest, latest=latest, next_page_token=None)

    async def list_labels(self) -> list[Label] | None:
        """Return the folders."""
        return list(self._mailbox.folders.values())

    async def list_send_as(self) -> list[str] | None:
        """There is no list."""
        return None

    async def fetch(self, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Return the messages."""
        del singly
        return {id_: self._get(id_) for get in gets for id_ in get.external_ids}

    def _get(self, id_: str) -> FetchResult:
        message = self._mailbox.messages.get(id_)
        if message is None:
            return MessageGoneError(id_)
        return ProviderMessage(
            external_id=id_,
            thread_id=None,
            version=message.version,
            received_at=message.received_at,
            label_ids=(message.folder,),
            marks=message.marks,
            snippet="Hello",
            size=len(message.raw),
            content=parse_raw(message.raw),
        )

    async def complete(self, partial: PartialMessage) -> ProviderMessage:
        """All messages are whole."""
        raise NotImplementedError

    async def watch(self) -> datetime:
        """Nothing is announced."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Nothing is announced."""


class FolderProvider:
    """A `Provider` with one mailbox."""

    costs = COSTS
    page_size = 100
    watch_times = None
    built_in_labels: Sequence[Label] = ()

    def __init__(self, mailbox: FolderMailbox) -> None:
        self._mailbox = mailbox

    @asynccontextmanager
    async def open(self, mailbox: Mailbox, tokens: Tokens, *, writing: Writing | None) -> AsyncIterator[FolderSession]:
        """Yield a session."""
        del mailbox, tokens, writing
        yield FolderSession(self._mailbox)
