"""Lists of messages as the JSON that the REST API shows: see ListMessagesResponse."""

from collections.abc import Iterable, Mapping

from pydantic_core import to_json

from services.mail.content.model import Address
from services.mail.ids import LocalId
from services.mail.model import MessageSummary

_OFFSET = len("+00:00")


def summaries_to_json(messages: Iterable[MessageSummary]) -> bytes:
    """A JSON array; the same as `summary_to_proto` tells."""
    return to_json([_summary(message) for message in messages])


def _summary(message: MessageSummary) -> Mapping[str, object]:
    sender = message.sender
    shown = {
        "id": str(LocalId(message.mailbox_id, message.message_id)),
        "external_id": message.external_id,
        "account_id": message.account_id,
        "thread_id": message.thread_id,
        "from_email": None if sender is None else sender.email,
        "from": None if sender is None else _address(sender),
        "to": [_address(address) for address in message.to],
        "cc": [_address(address) for address in message.cc],
        "subject": message.subject,
        "snippet": message.snippet,
        # RFC 3339; all times are UTC.
        "received_at": message.received_at.isoformat(timespec="milliseconds")[:-_OFFSET] + "Z",
        "is_read": message.is_read,
        "labels": message.labels,
        "has_attachments": message.has_attachments,
        "size": message.size,
    }
    if message.highlight is not None:
        shown["highlight"] = message.highlight
    return shown


def _address(address: Address) -> Mapping[str, str]:
    return {"name": address.name, "email": address.email}
