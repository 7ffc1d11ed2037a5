"""The domain types of webhooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class EventType(StrEnum):
    """The types of events; docs/webhooks.md explains each."""

    MESSAGE_CREATED = "message.created"
    MESSAGE_UPDATED = "message.updated"
    MESSAGE_DELETED = "message.deleted"
    LABEL_UPDATED = "label.updated"
    LABEL_DELETED = "label.deleted"
    MAILBOX_CONNECTED = "mailbox.connected"
    REAUTH_REQUIRED = "mailbox.reauth_required"
    ACCESS_DENIED = "mailbox.access_denied"
    DISCONNECTED = "mailbox.disconnected"
    RESYNC_REQUIRED = "mailbox.resync_required"
    SYNC_COMPLETED = "sync.completed"
    SYNC_FAILED = "sync.failed"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_TEST = "webhook.test"


# A test is delivered to the endpoint that it is asked for, whatever types that wants.
SELECTABLE = tuple(each for each in EventType if each is not EventType.WEBHOOK_TEST)


class DeliveryOrder(StrEnum):
    """The order in which an endpoint gets the events of a mailbox."""

    # That of the feed, one after the other: an event that fails keeps back those after it.
    MAILBOX = "mailbox"
    # Any: several at a time, and one that fails is tried again by itself.
    NONE = "none"


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing."""

    # Nothing could be delivered for days.
    FAILING = "failing"
    # It answered 410.
    GONE = "gone"
    # Its application wants it so.
    REQUESTED = "requested"


class DeliveryState(StrEnum):
    """The states of the delivery of an event. FAILING and PENDING ones are tried again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILING = "failing"
    # Refused by the receiver, which gets the events after it.
    PARKED = "parked"
    # It can no longer be delivered: the change is not kept any more.
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRules:
    """What an application asks of an endpoint. Empty event types: all; `account_ids` None: all mailboxes."""

    url: str
    event_types: Sequence[str] = ()
    account_ids: Sequence[UUID] | None = None
    description: str = ""
    backfill: bool = False
    order: DeliveryOrder = DeliveryOrder.MAILBOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint of an application."""

    endpoint_id: UUID
    application_id: UUID
    rules: EndpointRules
    disabled_reason: str
    starts_at: datetime
    failing_since: datetime | None
    refused_in_row: int
    created_at: datetime
    disabled_at: datetime | None

    def wants(self, event_type: str) -> bool:
        """Return whether events of this type are asked for; that a feed was lost concerns every follower."""
        return (
            not self.rules.event_types
            or event_type in self.rules.event_types
            or event_type == EventType.RESYNC_REQUIRED
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A try to deliver an event. `status` is None, and `error` tells why, where no answer came."""

    at: datetime
    milliseconds: int
    status: int | None = None
    error: str = ""
    body: str = ""
    # Seconds that the receiver asks for.
    retry_after: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return {
            "at": self.at.isoformat(),
            "milliseconds": self.milliseconds,
            "status": self.status,
            "error": self.error,
            "body": self.body,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event on its way. `account_id` and `seq` are None for events that belong to no feed."""

    event_id: str
    event_type: EventType
    timestamp: datetime
    data: Mapping[str, Any]
    mailbox_id: int | None = None
    account_id: UUID | None = None
    seq: int | None = None
    incarnation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event that was or will be tried."""

    delivery_id: int
    event_id: str
    event_type: str
    account_id: UUID | None
    mailbox_id: int | None
    seq: int | None
    incarnation: int | None
    state: DeliveryState
    tries: int
    attempts: Sequence[Mapping[str, Any]]
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mailbox whose events wait for an endpoint, or a delivery apart from feeds, by number."""

    endpoint_id: UUID
    number: int
    # Whether nothing could be delivered to the endpoint last.
    is_failing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorLease:
    """The right to deliver a mailbox's events to an endpoint, with the cursor as it was claimed."""

    endpoint_id: UUID
    mailbox_id: int
    owner: UUID
    epoch: int
    claimed_at: datetime
    # None: it is to be looked up. Changes after `starts_at` are delivered, too, once more where they were before.
    seq: int | None
    starts_at: datetime | None
    previous_incarnation: int
    previous_seq: int
    chain_start: bool
    replayed_until: int
    resync_due: bool
    tries: int
    failing_since: datetime | None
