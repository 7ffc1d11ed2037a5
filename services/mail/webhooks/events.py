"""The events of a feed as receivers get them: ids, positions and a summary; no bodies and no attachments."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from services.mail.ids import FeedPosition, PublicIds
from services.mail.model import FeedEvent
from services.mail.reading.message_json import summary_to_builtins
from services.mail.store.changes import ChangeKind, Told
from services.mail.webhooks.model import Event, EventType

_TYPES = {
    ChangeKind.CREATED: EventType.MESSAGE_CREATED,
    ChangeKind.UPDATED: EventType.MESSAGE_UPDATED,
    ChangeKind.DELETED: EventType.MESSAGE_DELETED,
    ChangeKind.LABEL_UPDATED: EventType.LABEL_UPDATED,
    ChangeKind.LABEL_DELETED: EventType.LABEL_DELETED,
}

# What a receiver sees of an event's place in the chain.
_CHAIN = ("mailbox_id", "previous_position", "chain_start", "replayed")


def chain_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event's data that `EventWriter.chain_of` returned."""
    return {name: data[name] for name in _CHAIN}


def type_of(change: Told) -> EventType:
    """Return the type of a change."""
    return EventType(change.event.value) if change.event is not None else _TYPES[change.kind]


def event_id_of(endpoint_id: UUID, position: FeedPosition, *, mark: str = "") -> str:
    """Return the `webhook-id` of the event at a position: the same for each try, also when it is replayed."""
    named = f"{endpoint_id} {position.mailbox_id} {position.incarnation} {position.seq} {mark}"
    return f"msg_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def body_of(event: Event) -> bytes:
    """Return the body of a delivery."""
    return msgspec.json.encode(
        {"type": event.event_type.value, "timestamp": rfc3339(event.timestamp), "data": event.data}
    )


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC, to the millisecond."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class EventWriter:
    """Makes the events of a mailbox for an endpoint."""

    def __init__(self, ids: PublicIds, *, endpoint_id: UUID, mailbox_id: int, account_id: UUID) -> None:
        self._ids = ids
        self._endpoint_id = endpoint_id
        self._mailbox_id = mailbox_id
        self._account_id = account_id

    def of_change(self, change: Told, *, incarnation: int, chain: Mapping[str, Any]) -> Event:
        """Return the event of a change; `chain` is what `chain_of` returns."""
        return self._event(
            type_of(change),
            FeedPosition(self._mailbox_id, incarnation, change.seq),
            timestamp=change.changed_at,
            data={**chain, **self._subject_of(change)},
        )

    def of_end(
        self, event_type: EventType, *, seq: int, incarnation: int, at: datetime, chain: Mapping[str, Any]
    ) -> Event:
        """Return the event that a mailbox is disconnected, or that changes of its feed are lost."""
        position = FeedPosition(self._mailbox_id, incarnation, seq)
        return self._event(event_type, position, timestamp=at, data=chain, mark=event_type.value)

    def chain_of(self, *, previous: tuple[int, int] | None, chain_start: bool, replayed: bool) -> dict[str, Any]:
        """Return the fields by which a receiver sees that it missed something.

        `previous` is incarnation and number of the event before; None where an event is sent apart from its chain.
        """
        position = None if previous is None else FeedPosition(self._mailbox_id, *previous)
        return {
            "mailbox_id": str(self._account_id),
            "previous_position": None if position is None else self._ids.encode_position(position),
            "chain_start": chain_start,
            "replayed": replayed,
        }

    def _event(
        self,
        event_type: EventType,
        position: FeedPosition,
        *,
        timestamp: datetime,
        data: Mapping[str, Any],
        mark: str = "",
    ) -> Event:
        return Event(
            event_id=event_id_of(self._endpoint_id, position, mark=mark),
            event_type=event_type,
            timestamp=timestamp,
            data={**data, "position": self._ids.encode_position(position)},
            mailbox_id=self._mailbox_id,
            account_id=self._account_id,
            seq=position.seq,
            incarnation=position.incarnation,
        )

    def _subject_of(self, change: Told) -> dict[str, Any]:
        if change.message_id is not None:
            message = change.message
            return {
                "email_id": self._ids.encode(self._mailbox_id, change.message_id),
                "email": None if message is None else summary_to_builtins(message, self._ids),
            }
        if change.label_id is not None:
            label = change.label
            return {
                "label_id": change.label_id,
                "label": None
                if label is None
                else {"id": label.label_id, "name": label.name, "type": label.type, "role": label.role.value},
            }
        return self._details_of(change)

    def _details_of(self, change: Told) -> dict[str, Any]:
        details = dict(change.details)
        if change.event in (FeedEvent.SYNC_COMPLETED, FeedEvent.SYNC_FAILED):
            details["sync_id"] = self._ids.encode_sync(self._mailbox_id, int(details["sync_id"]))
        return details
