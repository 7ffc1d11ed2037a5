"""What came of events of feeds: the cursor moves, and the try is recorded, in one statement."""

import json
from enum import Enum

from services.mail.store.connection import Connection
from services.mail.store.webhooks.deliveries import KEPT_TRIES
from services.mail.webhooks.events import chain_in
from services.mail.webhooks.model import Attempt, CursorLease, DeliveryState, Event, EventType

_LAST_TRIES = f"jsonb_path_query_array(d.attempts || excluded.attempts, '$[last - {KEPT_TRIES - 1} to last]')"
# Of an event of a feed whose cursor has moved: the parameters are those of `_row`.
_RECORDED = f"""
    recorded AS (
        INSERT INTO webhook_deliveries AS d (endpoint_id, mailbox_id, event_id, event_type, account_id, seq,
            incarnation, state, attempts, tries, ended_at, due_at, data)
        SELECT $1, $2, $5, $6, $7::uuid, $8::bigint, $9::bigint, $10::text, $11::jsonb, 1,
            CASE WHEN $10 <> 'failing' THEN now() END, now() + make_interval(secs => $12), $13::jsonb
        FROM moved
        ON CONFLICT (endpoint_id, event_id) DO UPDATE
        SET state = excluded.state, tries = d.tries + 1, attempts = {_LAST_TRIES}, ended_at = excluded.ended_at,
            due_at = excluded.due_at, data = excluded.data
    )
"""


class Passed(Enum):
    """Whether a cursor is still held after an event of its feed, or the deliverer that had the lease lost it."""

    HELD = "held"
    # Given back: the event was the last one of the feed, or of what the deliverer has read of it.
    FREE = "free"
    LOST = "lost"


async def record_passed(
    connection: Connection,
    lease: CursorLease,
    event: Event,
    attempt: Attempt,
    *,
    state: DeliveryState,
    until: int,
    lease_seconds: float,
    pause: float | None = None,
) -> Passed:
    """Record what came of an event, and go on after it; give the cursor back if nothing follows.

    `until` is the last change that the caller knows of. Of a mailbox that was disconnected only its end follows. An
    event that failed is tried apart from its feed after `pause` seconds.
    """
    is_held: bool | None = await connection.fetchval(
        f"""
        WITH moved AS (
            UPDATE webhook_cursors c
            SET seq = $8, previous_seq = $8, previous_incarnation = $9, chain_start = false, resync_due = false,
                is_ended = $15, tries = 0, failing_since = NULL, due_at = NULL,
                lease_owner = CASE WHEN h.disconnected_at IS NULL AND greatest(h.seq, $16) > $8
                    THEN c.lease_owner END,
                lease_until = CASE WHEN h.disconnected_at IS NULL AND greatest(h.seq, $16) > $8
                    THEN now() + make_interval(secs => $14) END
            FROM feed_heads h
            WHERE h.mailbox_id = $2 AND c.endpoint_id = $1 AND c.mailbox_id = $2 AND c.lease_owner = $3
                AND c.lease_epoch = $4
            RETURNING c.lease_owner IS NOT NULL AS is_held
        ), {_RECORDED}
        SELECT is_held FROM moved
        """,
        *_row(lease, event, attempt, state, pause=pause),
        lease_seconds,
        event.event_type is EventType.DISCONNECTED,
        until,
    )
    if is_held is None:
        return Passed.LOST
    return Passed.HELD if is_held else Passed.FREE


async def record_failed(
    connection: Connection, lease: CursorLease, event: Event, attempt: Attempt, *, pause: float, refused: bool
) -> bool:
    """Record that an event was not delivered, and give the cursor back; return whether the lease was still held."""
    recorded: bool | None = await connection.fetchval(
        f"""
        WITH moved AS (
            UPDATE webhook_cursors
            SET tries = tries + 1, failing_since = coalesce(failing_since, now()), is_refused = $15,
                due_at = now() + make_interval(secs => $14), lease_owner = NULL, lease_until = NULL
            WHERE endpoint_id = $1 AND mailbox_id = $2 AND lease_owner = $3 AND lease_epoch = $4
            RETURNING true
        ), {_RECORDED}
        SELECT true FROM moved
        """,
        *_row(lease, event, attempt, DeliveryState.FAILING),
        pause,
        refused,
    )
    return recorded is not None


def _row(
    lease: CursorLease, event: Event, attempt: Attempt, state: DeliveryState, *, pause: float | None = None
) -> tuple[object, ...]:
    chain = None if pause is None else json.dumps(chain_in(event.data))
    return (
        *(lease.endpoint_id, lease.mailbox_id, lease.owner, lease.epoch),
        *(event.event_id, event.event_type.value, event.account_id, event.seq, event.incarnation),
        *(state.value, json.dumps([attempt.to_json()]), pause, chain),
    )
