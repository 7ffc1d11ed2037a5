"""What users see of stored mail: lists, messages, threads, labels; and what narrows a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from services.mail.content.model import Address, Attachment
from services.mail.model import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedLabel:
    """A label and how many of the stored messages carry it."""

    label: Label
    message_count: int
    unread_count: int


class MessageSummary(Struct, frozen=True, kw_only=True, gc=False):
    """What a list shows of a message; labels are names. Of very many recipients it has the first ones only.

    A msgspec struct, since lists make very many of them: to make a frozen dataclass takes ten times as long.
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
    labels: list[str]
    has_attachments: bool
    size: int
    # HTML of what a query found, where it was asked for.
    highlight: str | None = None


class Recipients(Struct, frozen=True, array_like=True, gc=False):
    """All that a message names besides its author."""

    to: list[Address]
    cc: list[Address]
    bcc: list[Address]
    reply_to: list[Address]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDetail:
    """A whole message; its `summary` has all recipients, too."""

    summary: MessageSummary
    headers: list[tuple[str, str]]
    bcc: list[Address]
    reply_to: list[Address]
    text: str | None
    html: str | None
    attachments: list[Attachment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """The messages with one thread id; `subject` is the oldest one's, `snippet` the newest one's."""

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
    """A place between two messages of a list, newest first."""

    received_at: datetime
    message_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages of a mailbox a list shows: those that fit all of it. Empty and None mean any.

    `query` is in the language of docs/search.md; `label` an id or a name; received at or after `after` and before
    `before`.
    """

    query: str = ""
    label: str = ""
    thread_id: str = ""
    unread: bool | None = None
    has_attachment: bool | None = None
    after: datetime | None = None
    before: datetime | None = None

    def fingerprint(self) -> Mapping[str, str]:
        """What a cursor is bound to."""
        return {name: str(getattr(self, name)) for name in self.__slots__}
