"""Webhooks of an application: endpoints, deliveries, and the events that receivers get."""

from typing import Annotated, Literal, NotRequired, TypedDict
from uuid import UUID

from pydantic import AwareDatetime, Field

from services.gateway.schemas.changes import LabelName
from services.gateway.schemas.emails import EmailSummary
from services.gateway.schemas.ids import MailboxUuid, Uuid
from services.gateway.schemas.requests import NO_NUL, Cursor, Limit, Request
from services.gateway.schemas.times import WRITTEN, Time

type EventType = Literal[
    "message.created",
    "message.updated",
    "message.deleted",
    "label.updated",
    "label.deleted",
    "mailbox.connected",
    "mailbox.reauth_required",
    "mailbox.access_denied",
    "mailbox.disconnected",
    "mailbox.resync_required",
    "sync.completed",
    "sync.failed",
    "webhook.disabled",
]
type Status = Literal["enabled", "disabled"]
type Order = Literal["mailbox", "none"]
type DeliveryState = Literal["pending", "delivered", "failing", "parked", "abandoned"]

_URL = Field(min_length=1, max_length=2048, pattern=NO_NUL, description="Where events are sent by POST; https")
_EVENTS = Field(max_length=50, description="The types of events; empty: all, those of later versions too")
_MAILBOX_IDS = Field(min_length=1, max_length=1000, description="The only mailboxes; null: all of the application")
_ORDER = Field(
    description="`mailbox`: the events of a mailbox one after the other; `none`: several at a time, in any order"
)
_EVENT_TYPE = Field(description="What happened")
_EVENT_TIME = Field(description="When it happened")
_EVENT_DATA = Field(description="What it is about")
_DESCRIPTION = Field(max_length=500, pattern=NO_NUL, description="What it is for")


class NewWebhook(Request):
    """A webhook to create."""

    url: Annotated[str, _URL]
    events: Annotated[list[EventType], _EVENTS] = Field(default_factory=list)
    mailbox_ids: Annotated[list[UUID] | None, _MAILBOX_IDS] = None
    description: Annotated[str, _DESCRIPTION] = ""
    backfill: Annotated[
        bool, Field(description="Whether changes from before, and those of first syncs, are sent, too")
    ] = False
    order: Annotated[Order, _ORDER] = "mailbox"


class WebhookChanges(Request):
    """Changes of a webhook; what is left out stays. `mailbox_ids` null: all mailboxes."""

    url: Annotated[str | None, _URL] = None
    events: Annotated[list[EventType] | None, _EVENTS] = None
    mailbox_ids: Annotated[list[UUID] | None, _MAILBOX_IDS] = None
    description: Annotated[str | None, _DESCRIPTION] = None
    order: Annotated[Order | None, _ORDER] = None
    status: Annotated[Status | None, Field(description="`disabled`: nothing is sent until it is `enabled`")] = None


class SecretRotation(Request):
    """How a secret is replaced."""

    overlap_seconds: Annotated[
        int, Field(ge=0, le=604_800, description="For which the secret before signs beside the new one")
    ] = 86_400


class Replay(Request):
    """What is sent once more."""

    since: Annotated[
        AwareDatetime | str,
        Field(
            union_mode="left_to_right",
            description="The `position` of an event: what follows it in its mailbox; or a time: what followed in all",
            examples=["2026-11-30T06:00:00Z"],
        ),
        WRITTEN,
    ]


class Webhook(TypedDict):
    """A webhook, without its secret."""

    id: Annotated[str, Field(description="The id of the webhook", json_schema_extra={"format": "uuid"})]
    url: Annotated[str, Field(description="Where events are sent")]
    events: Annotated[list[str], Field(description="The types of events; empty: all")]
    mailbox_ids: Annotated[list[Uuid] | None, Field(description="The only mailboxes; null: all of the application")]
    description: Annotated[str, Field(description="What it is for")]
    backfill: Annotated[bool, Field(description="Whether changes from before it are sent, too")]
    order: Annotated[Order, _ORDER]
    status: Annotated[Status, Field(description="Whether events are sent")]
    disabled_reason: Annotated[
        str | None,
        Field(
            description="`failing`: nothing was delivered for days; `gone`: it answered 410; `requested`: by `status`"
        ),
    ]
    disabled_at: Annotated[Time | None, Field(description="Since when it is disabled")]
    failing_since: Annotated[
        Time | None,
        Field(description="Since when nothing was delivered although it was tried; null: the last try passed"),
    ]
    created_at: Annotated[Time, Field(description="When it was made")]


class CreatedWebhook(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: Annotated[str, Field(description="Verifies signatures; it cannot be shown again")]


class WebhookList(TypedDict):
    """The webhooks of the application."""

    webhooks: Annotated[list[Webhook], Field(description="Oldest first")]


class WebhookSecret(TypedDict):
    """A new secret."""

    secret: Annotated[str, Field(description="Verifies signatures; it cannot be shown again")]


class DeliveryAttempt(TypedDict):
    """A try to deliver an event."""

    at: Annotated[Time, Field(description="When it began")]
    status: Annotated[int | None, Field(description="The HTTP status of the answer; null: none came")]
    error: Annotated[str | None, Field(description="Why no answer came, such as `timeout` or `address_refused`")]
    duration_ms: Annotated[int, Field(description="Milliseconds until the answer was read")]
    body: Annotated[str, Field(description="The first kilobyte of the answer")]


class Delivery(TypedDict):
    """An event that was or will be tried."""

    id: Annotated[str, Field(description="The id of the delivery")]
    event_id: Annotated[str, Field(description="The header `webhook-id`, the same for each try")]
    event: Annotated[str, Field(description="The type of the event")]
    mailbox_id: Annotated[Uuid | None, Field(description="The mailbox; null for events that belong to none")]
    position: Annotated[str | None, Field(description="The position of the event in the feed of its mailbox")]
    state: Annotated[DeliveryState, Field(description="What came of it")]
    tries: Annotated[int, Field(description="How often it was tried")]
    attempts: Annotated[list[DeliveryAttempt], Field(description="The last ten tries, oldest first")]
    created_at: Annotated[Time, Field(description="When it was tried or asked for first")]
    ended_at: Annotated[Time | None, Field(description="When it came to its end; null: it is tried again")]


class DeliveryPage(TypedDict):
    """A page of deliveries."""

    deliveries: Annotated[list[Delivery], Field(description="Newest first")]
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page; null: this is the last one")]


class DeliveriesQuery(Request):
    """Which deliveries are listed."""

    state: Annotated[DeliveryState | None, Field(description="Only those in this state")] = None
    limit: Limit = 50
    cursor: Cursor = ""


class FeedData(TypedDict):
    """Where an event stands in the feed of its mailbox."""

    mailbox_id: MailboxUuid
    position: Annotated[str, Field(description="Give it to `GET /emails/changes` as `since` to list what follows")]
    previous_position: Annotated[
        str | None,
        Field(description="That of the event before it, for this webhook and mailbox; null where it is sent by itself"),
    ]
    chain_start: Annotated[bool, Field(description="Whether a chain begins: nothing before it was missed")]
    replayed: Annotated[bool, Field(description="Whether it was sent before")]


class MessageData(FeedData):
    """A message that was stored, changed or deleted."""

    email_id: Annotated[str, Field(description="The message")]
    email: Annotated[EmailSummary | None, Field(description="As it is now; null: it no longer exists")]


class LabelData(FeedData):
    """A label that was made, renamed or deleted."""

    label_id: Annotated[str, Field(description="The label")]
    label: Annotated[LabelName | None, Field(description="As it is now; null: it no longer exists")]


class MailboxData(FeedData):
    """A mailbox whose connection changed."""

    again: NotRequired[Annotated[bool, Field(description="With `mailbox.connected`: it was connected before")]]
    reason: NotRequired[Annotated[str, Field(description="With `mailbox.access_denied`: why")]]


class SyncData(FeedData):
    """A sync that ended."""

    sync_id: Annotated[str, Field(description="The sync")]
    error: NotRequired[Annotated[str, Field(description="With `sync.failed`: why")]]


class WebhookData(TypedDict):
    """A webhook that is tested, or that was disabled."""

    webhook_id: Annotated[Uuid, Field(description="The webhook")]
    url: NotRequired[Annotated[str, Field(description="With `webhook.disabled`: its URL")]]
    reason: NotRequired[Annotated[str, Field(description="With `webhook.disabled`: why")]]


class MessageEvent(TypedDict):
    """A message was stored, changed or deleted."""

    type: Annotated[Literal["message.created", "message.updated", "message.deleted"], _EVENT_TYPE]
    timestamp: Annotated[Time, _EVENT_TIME]
    data: Annotated[MessageData, _EVENT_DATA]


class LabelEvent(TypedDict):
    """A label was made, renamed or deleted."""

    type: Annotated[Literal["label.updated", "label.deleted"], _EVENT_TYPE]
    timestamp: Annotated[Time, _EVENT_TIME]
    data: Annotated[LabelData, _EVENT_DATA]


class MailboxEvent(TypedDict):
    """A mailbox was connected or disconnected, lost its access, or has to be listed anew."""

    type: Annotated[
        Literal[
            "mailbox.connected",
            "mailbox.reauth_required",
            "mailbox.access_denied",
            "mailbox.disconnected",
            "mailbox.resync_required",
        ],
        _EVENT_TYPE,
    ]
    timestamp: Annotated[Time, _EVENT_TIME]
    data: Annotated[MailboxData, _EVENT_DATA]


class SyncEvent(TypedDict):
    """A sync ended."""

    type: Annotated[Literal["sync.completed", "sync.failed"], _EVENT_TYPE]
    timestamp: Annotated[Time, _EVENT_TIME]
    data: Annotated[SyncData, _EVENT_DATA]


class EndpointEvent(TypedDict):
    """A webhook is tested, or another one of the application was disabled."""

    type: Annotated[Literal["webhook.test", "webhook.disabled"], _EVENT_TYPE]
    timestamp: Annotated[Time, _EVENT_TIME]
    data: Annotated[WebhookData, _EVENT_DATA]


type WebhookEvent = Annotated[
    MessageEvent | LabelEvent | MailboxEvent | SyncEvent | EndpointEvent,
    Field(
        discriminator="type",
        description="The body of a delivery (Standard Webhooks 1.0.0); ignore types and fields that you do not know",
    ),
]
