"""The types of stored mail that users see: lists, messages, threads, labels and filters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from services.mail.content.model import Address, Attachment
from services.mail.marks import Mark
from services.mail.model import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedLabel:
    """A label with the number of its stored messages, and since when the provider fails for it as a folder."""

    label: Label
    message_count: int
    unread_count: int
    stale_since: datetime | None = None


class MessageSummary(Struct, frozen=True, kw_only=True, gc=False):
    """A message of a list, with labels by name and the first of very many recipients.

    A msgspec struct: lists make very many, and a frozen dataclass takes ten times as long to make.
    """

    mailbox_id: int
    message_id: int
    account_id: UUID
    external_id: str
    thread_id: str
    sender: Address | None
    to: list[Address]
    cc: list[Address]
    subject: str | None
    snippet: str
    received_at: datetime
    is_read: bool
    marks: list[Mark]
    labels: list[str]
    has_attachments: bool
    size: int
    # HTML around the words that a query found, if requested.
    highlight: str | None = None


class Recipients(Struct, frozen=True, array_like=True, gc=False):
    """The recipients of a message, and its Reply-To addresses."""

    to: list[Address]
    cc: list[Address]
    bcc: list[Address]
    reply_to: list[Address]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDetail:
    """A whole message. Its `summary` has all recipients."""

    summary: MessageSummary
    headers: list[tuple[str, str]]
    bcc: list[Address]
    reply_to: list[Address]
    text: str | None
    html: str | None
    attachments: list[Attachment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """The messages with the same thread id. `subject` is that of the oldest one, `snippet` of the newest one."""

    thread_id: str
    account_id: UUID
    subject: str | None
    snippet: str
    last_message_id: int
    last_message_at: datetime
    message_count: int
    unread_count: int
    participants: list[Address]
    labels: list[str]
    has_attachments: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A position between two messages of a list, newest first."""

    received_at: datetime
    message_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """The filters of a list. A message must match all of them; empty and None match any.

    `query` is in the language of docs/search.md; `label` is an id or a name; messages are received at or after `after`
    and before `before`.
    """

    query: str = ""
    label: str = ""
    thread_id: str = ""
    unread: bool | None = None
    has_attachment: bool | None = None
    after: datetime | None = None
    before: datetime | None = None

    def fingerprint(self) -> Mapping[str, str]:
        """Return the values that a page token is bound to."""
        return {name: str(getattr(self, name)) for name in self.__slots__}
