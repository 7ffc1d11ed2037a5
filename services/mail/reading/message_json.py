"""Messages as the JSON of the REST API: in lists (see ListMessagesResponse), and in the events of webhooks."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from services.mail.content.model import Address
from services.mail.ids import PublicIds
from services.mail.marks import Mark
from services.mail.read_model import MessageSummary


class _Listed(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A message of a list, with the fields of `summary_to_proto`."""

    id: str
    external_id: str
    mailbox_id: UUID
    account_id: UUID
    thread_id: str
    from_email: str | None
    sender: Address | None = msgspec.field(name="from")
    to: list[Address]
    cc: list[Address]
    subject: str | None
    snippet: str
    received_at: str
    is_read: bool
    marks: list[Mark]
    labels: list[str]
    has_attachments: bool
    size: int
    highlight: str | None = None


def summaries_to_json(messages: Iterable[MessageSummary], ids: PublicIds) -> bytes:
    """Encode the messages as a JSON array."""
    return msgspec.json.encode([_listed(message, ids) for message in messages])


def summary_to_builtins(message: MessageSummary, ids: PublicIds) -> dict[str, Any]:
    """Return a message as a list shows it, in types that JSON has."""
    builtins: dict[str, Any] = msgspec.to_builtins(_listed(message, ids))
    return builtins


def _listed(message: MessageSummary, ids: PublicIds) -> _Listed:
    sender = message.sender
    return _Listed(
        id=ids.encode(message.mailbox_id, message.message_id),
        external_id=message.external_id,
        mailbox_id=message.account_id,
        account_id=message.account_id,
        thread_id=message.thread_id,
        from_email=None if sender is None else sender.email,
        sender=sender,
        to=message.to,
        cc=message.cc,
        subject=message.subject,
        snippet=message.snippet,
        # RFC 3339. Formatting a UTC time without its zone takes two thirds of the time.
        received_at=message.received_at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
        is_read=message.is_read,
        marks=message.marks,
        labels=message.labels,
        has_attachments=message.has_attachments,
        size=message.size,
        highlight=message.highlight,
    )
