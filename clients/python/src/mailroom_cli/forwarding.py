"""Deliveries to a URL of this machine, as webhooks make them. Only `mailroom listen` imports it."""

import hashlib
import json
from asyncio import sleep
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

import httpx
from mailroom_client import AsyncMailroom, MailroomError, ResyncRequiredError, Retries
from mailroom_client.models import Change, Delivery, DeliveryAttempt
from mailroom_client.signatures import signed_headers

from mailroom_cli.failures import CommandError

# Seconds of a try, tries of an event that is refused, bytes of an answer that are kept, and tries that are told of.
_TIMEOUT, _TRIES, _KEPT, _LAST = 15.0, 3, 1000, 10
_GONE: Final = 410
_DOWN: Final = frozenset({408, 429})
_TYPES: Final = {
    "created": "message.created",
    "updated": "message.updated",
    "deleted": "message.deleted",
    "label_updated": "label.updated",
    "label_deleted": "label.deleted",
}
_PAUSES: Final = Retries(first=1)
_RESYNC: Final = "mailbox.resync_required"
EVENTS: Final = (*_TYPES.values(), _RESYNC)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a mailbox, ready to be sent."""

    type: str
    mailbox_id: UUID
    position: str
    body: bytes

    @property
    def id(self) -> str:
        """The `webhook-id`: the same whenever this position is sent."""
        return f"msg_{hashlib.sha256(f'listen {self.position} {self.type}'.encode()).hexdigest()[:32]}"


class FeedEvents:
    """Makes the events of a mailbox from its feed, each with the position of the one before."""

    def __init__(self, mailbox_id: UUID, position: str) -> None:
        self._mailbox_id = mailbox_id
        self._previous = position
        self._is_first = True

    def of_change(self, change: Change, position: str) -> Event | None:
        """Return the event of a change, None for a type that this version does not know."""
        event_type = _TYPES.get(change.type)
        if event_type is None:
            return None
        fields = change.model_dump(mode="json", by_alias=True, exclude_unset=True)
        kind = event_type.partition(".")[0].replace("message", "email")
        return self._event(event_type, position, {f"{kind}_id": change.id, kind: fields.get(kind)})

    def of_gap(self, position: str) -> Event:
        """Return the event that changes before a position are no longer known."""
        return self._event(_RESYNC, position, {})

    def _event(self, event_type: str, position: str, subject: dict[str, Any]) -> Event:
        chain = {"previous_position": self._previous, "chain_start": self._is_first, "replayed": False}
        data = {"mailbox_id": str(self._mailbox_id), "position": position, **chain, **subject}
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._previous, self._is_first = position, False
        body = json.dumps({"type": event_type, "timestamp": moment, "data": data}, ensure_ascii=False)
        return Event(event_type, self._mailbox_id, position, body.encode())


@dataclass(frozen=True, slots=True)
class Forwarder:
    """Sends events to a URL until it takes or refuses them; `told` gets the delivery after each try.

    As with webhooks a receiver that is down is waited for, and one that refuses an event is asked three times. The
    pauses are those of a developer, who starts the receiver anew: seconds, not hours.
    """

    http: httpx.AsyncClient
    url: str
    secret: str
    told: Callable[[Delivery], None]
    retries: Retries = _PAUSES

    async def deliver(self, event: Event) -> None:
        """Deliver an event. Raises CommandError for an answer 410: nothing more is wanted."""
        began, attempts = datetime.now(UTC), list[DeliveryAttempt]()
        while True:
            attempt, asked = await self._attempt(event)
            attempts.append(attempt)
            state = _state(attempt.status, tries=len(attempts))
            self.told(_delivery(event, state, attempts, began=began))
            if attempt.status == _GONE:
                raise CommandError(f"{self.url} wants nothing more: it answered 410")
            if state != "failing":
                return
            await sleep(max(asked, self.retries.pause(min(len(attempts), 10))))

    async def _attempt(self, event: Event) -> tuple[DeliveryAttempt, float]:
        """Try once; return what came of it, and the seconds that the receiver asks to wait."""
        at, begin = datetime.now(UTC), monotonic()
        headers = signed_headers(event.id, event.body, at=at.timestamp(), secret=self.secret)
        headers |= {"Content-Type": "application/json", "User-Agent": "Mailroom-Webhooks/1"}
        status, error, body, asked = None, None, "", 0.0
        try:
            answer = await self.http.post(self.url, content=event.body, headers=headers, timeout=_TIMEOUT)
        except httpx.TimeoutException:
            error = "timeout"
        except httpx.RequestError as failure:
            error = str(failure) or type(failure).__name__
        else:
            status, body = answer.status_code, answer.text[:_KEPT]
            given = answer.headers.get("Retry-After", "")
            asked = float(given) if given.isascii() and given.isdigit() else 0.0
        lasted = round(1000 * (monotonic() - begin))
        return DeliveryAttempt(at=at, status=status, error=error, duration_ms=lasted, body=body), asked


async def forward(
    client: AsyncMailroom,
    mailbox_id: UUID,
    forwarder: Forwarder,
    *,
    since: str,
    events: Collection[str],
    on_trouble: Callable[[MailroomError], None],
) -> None:
    """Deliver what happens in a mailbox after a position, in order. Without `events` all types."""
    position = since
    made = FeedEvents(mailbox_id, position)
    while True:
        try:
            # One change a page: each event has a position of its own.
            async for page in client.changes.follow(mailbox_id, position, limit=1, on_trouble=on_trouble):
                position = page.next_since
                for change in page.changes:
                    if not events or _TYPES.get(change.type) in events:
                        event = made.of_change(change, position)
                        if event is not None:
                            await forwarder.deliver(event)
        except ResyncRequiredError:
            position = await client.changes.position(mailbox_id)
            await forwarder.deliver(made.of_gap(position))


def _state(status: int | None, *, tries: int) -> str:
    if status is not None and 200 <= status < 300:
        return "delivered"
    if status == _GONE:
        return "abandoned"
    is_refused = status is not None and 400 <= status < 500 and status not in _DOWN
    return "parked" if is_refused and tries >= _TRIES else "failing"


def _delivery(event: Event, state: str, attempts: Sequence[DeliveryAttempt], *, began: datetime) -> Delivery:
    return Delivery(
        id=event.id.removeprefix("msg_"),
        event_id=event.id,
        event=event.type,
        mailbox_id=event.mailbox_id,
        position=event.position,
        state=state,
        tries=len(attempts),
        attempts=attempts[-_LAST:],
        created_at=began,
        ended_at=None if state == "failing" else datetime.now(UTC),
    )
