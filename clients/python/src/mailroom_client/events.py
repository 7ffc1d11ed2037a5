"""The events that webhooks receive: the part `webhooks` of the OpenAPI document, as typed and frozen objects."""

from typing import Any, Literal, get_args
from uuid import UUID

from mailroom_client.models import EmailSummary, LabelName, Model, Time


class FeedData(Model):
    """Where an event stands in the feed of its mailbox.

    If `previous_position` is not the position that you stored last and `chain_start` is false, you missed something:
    `changes.after` with your position has it. None: the event was asked for again, and stands by itself.
    """

    mailbox_id: UUID
    position: str
    previous_position: str | None
    chain_start: bool
    replayed: bool


class MessageData(FeedData):
    """A message; `email` is as it is now, None where it is gone."""

    email_id: str
    email: EmailSummary | None


class LabelData(FeedData):
    """A label; `label` is as it is now, None where it is gone."""

    label_id: str
    label: LabelName | None


class MailboxData(FeedData):
    """A mailbox; `again`: it was connected before; `reason`: why its provider denies access."""

    again: bool | None = None
    reason: str | None = None


class SyncData(FeedData):
    """A sync that ended, and why it failed."""

    sync_id: str
    error: str | None = None


class WebhookData(Model):
    """A webhook that is tested, or that was disabled for a reason."""

    webhook_id: UUID
    url: str | None = None
    reason: str | None = None


class MessageEvent(Model):
    """A message was stored, changed or deleted."""

    type: Literal["message.created", "message.updated", "message.deleted"]
    timestamp: Time
    data: MessageData


class LabelEvent(Model):
    """A label was made, renamed or deleted."""

    type: Literal["label.updated", "label.deleted"]
    timestamp: Time
    data: LabelData


class MailboxEvent(Model):
    """A mailbox was connected or disconnected, lost its access, or has to be listed anew."""

    type: Literal[
        "mailbox.connected",
        "mailbox.reauth_required",
        "mailbox.access_denied",
        "mailbox.disconnected",
        "mailbox.resync_required",
    ]
    timestamp: Time
    data: MailboxData


class SyncEvent(Model):
    """A sync ended."""

    type: Literal["sync.completed", "sync.failed"]
    timestamp: Time
    data: SyncData


class EndpointEvent(Model):
    """A webhook is tested, or another one of the application was disabled."""

    type: Literal["webhook.test", "webhook.disabled"]
    timestamp: Time
    data: WebhookData


class UnknownEvent(Model):
    """An event of a newer server: ignore it."""

    type: str
    timestamp: Time
    data: dict[str, Any]


type WebhookEvent = MessageEvent | LabelEvent | MailboxEvent | SyncEvent | EndpointEvent | UnknownEvent

_BY_TYPE: dict[str, type[WebhookEvent]] = {
    name: event
    for event in (MessageEvent, LabelEvent, MailboxEvent, SyncEvent, EndpointEvent)
    for name in get_args(event.model_fields["type"].annotation)
}


def parse_event(body: bytes | str) -> WebhookEvent:
    """Return the event in the body of a delivery. Raises pydantic's ValidationError."""
    kind = _BY_TYPE.get(UnknownEvent.model_validate_json(body).type, UnknownEvent)
    return kind.model_validate_json(body)
