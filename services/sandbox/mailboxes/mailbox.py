"""One mailbox: messages, threads, labels, drafts and their history."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from services.sandbox.clock import Clock
from services.sandbox.instruments.audit_log import AuditLog
from services.sandbox.mailboxes.history import Change, History
from services.sandbox.mailboxes.labels import Label
from services.sandbox.mime.content import Content, StoredContent
from services.sandbox.mime.part_tree import HeaderForm

NO_LABELS: frozenset[str] = frozenset()


class Composer(Protocol):
    """Composes generated messages from their number."""

    def content(self, index: int, *, date_ms: int) -> Content: ...


@dataclass(frozen=True, slots=True)
class MessageDeviation:
    """Deviations of one message's resource: keys left out or added, headers in another form."""

    omit: frozenset[str] = NO_LABELS
    extra: dict[str, object] = field(default_factory=dict)
    headers: HeaderForm = "decoded"


@dataclass(slots=True, eq=False)
class Message:
    """One message; `source` is the number of a generated message, or its content."""

    id: str
    thread_id: str
    labels: frozenset[str]
    history_id: int
    internal_date: int
    source: int | StoredContent


@dataclass(slots=True)
class ListingDeviations:
    """Rare behaviour of a mailbox's listings."""

    empty_page_every: int = 0
    """One in this many pages (2 or more) of a listing is empty and still carries a token; 0 = never."""
    index_lag: float = 0.0
    """Listings show a message only this many seconds after it arrived."""
    short_list_every: int = 0
    """One in this many listings (2 or more) ends after the first half of its first page; 0 = never."""
    listings: int = 0
    late_entries: int = 0
    short_listings: int = 0
    """How many there were so far; pages count each late entry anew."""

    def is_short(self) -> bool:
        """Count another listing; return whether it ends early."""
        self.listings += 1
        short = self.short_list_every > 0 and self.listings % self.short_list_every == 0
        self.short_listings += short
        return short

    def is_late(self, message: Message, *, now_ms: int) -> bool:
        """Return whether listings do not show the message yet."""
        late = message.internal_date > now_ms - self.index_lag * 1000 and self.index_lag > 0
        self.late_entries += late
        return late


def _position(message: Message) -> tuple[int, str]:
    return message.internal_date, message.id


class Mailbox:
    """Messages of one user. Every change gets a history id and an entry in the audit log."""

    def __init__(
        self,
        *,
        sub: str,
        email: str,
        clock: Clock,
        random: Random,
        retention: float,
        log: AuditLog,
        composer: Composer,
        labels: dict[str, Label],
        changed: Callable[["Mailbox", Change], None],
    ) -> None:
        self.sub = sub
        self.email = email
        self.messages: dict[str, Message] = {}
        self.threads: dict[str, list[Message]] = {}
        self.labels = labels
        self.drafts: dict[str, Message] = {}
        self.order: list[Message] = []
        """Oldest first; listings read from the end."""
        self.message_deviations: dict[str, MessageDeviation] = {}
        self.listing_deviations = ListingDeviations()
        # Time-based, so that ids from before a restart, which loses all records, are too old.
        first_id = int(clock.now() * 1_000_000)
        self.history = History(clock=clock, random=random, retention=retention, first_id=first_id)
        self.generated = 0
        self.composer = composer
        self._clock = clock
        self._random = random
        self._log = log
        self._changed = changed
        self._threads_by_message_id: dict[str, str] = {}
        self._label_sets: dict[frozenset[str], frozenset[str]] = {}

    def content(self, message: Message) -> Content:
        """Return the content of a message."""
        if isinstance(message.source, int):
            return self.composer.content(message.source, date_ms=message.internal_date)
        return message.source

    def index_before(self, internal_date: int, message_id: str) -> int:
        """Return how many messages are older than this position in the order."""
        return bisect_left(self.order, (internal_date, message_id), key=_position)

    def new_id(self, time_ms: int) -> str:
        """Make a free message id: 16 hex digits that begin with the time."""
        while True:
            name = f"{(max(time_ms, 0) << 20 | self._random.getrandbits(20)) & 0xFFFFFFFFFFFFFFFF:016x}"
            if name not in self.messages:
                return name

    def new_label_id(self) -> str:
        """Make a free id for a user's label."""
        while True:
            name = f"Label_{self._random.getrandbits(62)}"
            if name not in self.labels:
                return name

    def shared_labels(self, labels: Iterable[str]) -> frozenset[str]:
        """Return one object per distinct set: a million messages have few distinct sets."""
        wanted = frozenset(labels)
        return self._label_sets.setdefault(wanted, wanted)

    def load(self, messages: Iterable[Message]) -> int:
        """Take over messages in date order without history records or log entries each. Returns their number."""
        count = 0
        for message in messages:
            self._index(message)
            self.order.append(message)
            count += 1
        self.order.sort(key=_position)
        self.history.discard_records()
        self._log.append("mailboxLoaded", user=self.email, messages=count, historyId=str(self.history.current_id))
        return count

    def add(
        self,
        source: int | StoredContent,
        *,
        labels: Iterable[str] = (),
        internal_date: int | None = None,
        thread_id: str | None = None,
        message_id: str | None = None,
        deviation: MessageDeviation | None = None,
    ) -> Message:
        """Add a message: delivered, imported, drafted or sent. `internal_date` is epoch ms, default now."""
        now_ms = int(self._clock.now() * 1000)
        identifier = message_id if message_id is not None else self.new_id(now_ms)
        message = Message(
            id=identifier,
            thread_id=self._thread_for(source, thread_id) or identifier,
            labels=self.shared_labels(labels),
            history_id=self.history.next_id(),
            internal_date=now_ms if internal_date is None else internal_date,
            source=source,
        )
        self._index(message)
        insort(self.order, message, key=_position)
        if deviation is not None:
            self.message_deviations[message.id] = deviation
        self._record(message, "messageAdded", added=True)
        return message

    def save_draft(
        self,
        source: StoredContent,
        *,
        labels: Iterable[str],
        draft_id: str | None = None,
        thread_id: str | None = None,
    ) -> tuple[str, Message]:
        """Save a draft, a new one without `draft_id`. Every save makes a new message and deletes the previous one."""
        name = draft_id or f"r{self._random.getrandbits(63)}"
        old = self.drafts.get(name)
        if old is not None:
            thread_id = old.thread_id if len(self.threads[old.thread_id]) > 1 else None
            self.delete(old)
        message = self.add(source, labels=labels, thread_id=thread_id)
        self.drafts[name] = message
        return name, message

    def delete(self, message: Message) -> None:
        """Delete a message permanently, with the draft whose content it is."""
        del self.messages[message.id]
        self.drafts = {name: draft for name, draft in self.drafts.items() if draft is not message}
        del self.order[self.index_before(message.internal_date, message.id)]
        self.message_deviations.pop(message.id, None)
        thread = self.threads[message.thread_id]
        thread.remove(message)
        if not thread:
            del self.threads[message.thread_id]
        message.history_id = self.history.next_id()
        self._record(message, "messageDeleted", deleted=True)

    def relabel(self, message: Message, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Add and remove labels. A call that changes nothing makes no record."""
        added = frozenset(add) - message.labels
        removed = (frozenset(remove) & message.labels) - frozenset(add)
        if not added and not removed:
            return
        message.labels = self.shared_labels((message.labels | added) - removed)
        message.history_id = self.history.next_id()
        self._record(message, "labelsChanged", labels_added=added, labels_removed=removed)

    def remove_label(self, label: Label) -> None:
        """Delete a label and remove it from its messages."""
        del self.labels[label.id]
        for message in [message for message in self.order if label.id in message.labels]:
            self.relabel(message, remove=(label.id,))

    def _index(self, message: Message) -> None:
        self.messages[message.id] = message
        self.threads.setdefault(message.thread_id, []).append(message)
        if isinstance(message.source, StoredContent) and (name := _message_id(message.source)):
            self._threads_by_message_id.setdefault(name, message.thread_id)

    def _thread_for(self, source: int | StoredContent, wanted: str | None) -> str | None:
        if wanted is not None:
            return wanted
        if isinstance(source, int):
            return None
        for name in _references(source):
            if (thread_id := self._threads_by_message_id.get(name)) in self.threads:
                return thread_id
        return None

    def _record(
        self,
        message: Message,
        event: str,
        *,
        added: bool = False,
        deleted: bool = False,
        labels_added: frozenset[str] = NO_LABELS,
        labels_removed: frozenset[str] = NO_LABELS,
    ) -> None:
        change = Change(
            id=message.history_id,
            time=self._clock.now(),
            message_id=message.id,
            thread_id=message.thread_id,
            labels=message.labels,
            added=added,
            deleted=deleted,
            labels_added=labels_added,
            labels_removed=labels_removed,
        )
        self.history.append(change)
        self._log.append(
            event,
            user=self.email,
            id=message.id,
            threadId=message.thread_id,
            labelIds=sorted(message.labels),
            historyId=str(message.history_id),
            labelsAdded=sorted(labels_added),
            labelsRemoved=sorted(labels_removed),
        )
        self._changed(self, change)


def _head(content: StoredContent) -> bytes:
    return content.data[:65_536].split(b"\r\n\r\n", 1)[0].split(b"\n\n", 1)[0]


def _header_values(content: StoredContent, name: bytes) -> bytes:
    out = b""
    taking = False
    for line in _head(content).splitlines():
        if line[:1] in (b" ", b"\t"):
            out += line if taking else b""
            continue
        taking = line[: len(name) + 1].lower() == name + b":"
        if taking:
            out += line[len(name) + 1 :]
    return out


def _message_id(content: StoredContent) -> str:
    return _header_values(content, b"message-id").strip().decode("utf-8", "replace")


def _references(content: StoredContent) -> list[str]:
    values = _header_values(content, b"references") + b" " + _header_values(content, b"in-reply-to")
    return values.decode("utf-8", "replace").split()[::-1]
