"""What was delivered, tried and parked, and events that wait outside of feeds."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import asyncpg

from services.mail.store.connection import Connection
from services.mail.store.webhooks.endpoints import CHANNEL
from services.mail.webhooks.events import chain_in
from services.mail.webhooks.model import Attempt, CursorLease, Delivery, DeliveryState, Event, EventType, Waiting

# Tries of an event that are kept, the last ones.
_KEPT_TRIES = 10
_LAST_TRIES = f"jsonb_path_query_array(d.attempts || excluded.attempts, '$[last - {_KEPT_TRIES - 1} to last]')"
_COLUMNS = (
    "delivery_id, event_id, event_type, account_id, mailbox_id, seq, incarnation, state, tries, attempts, created_at, "
    "due_at, ended_at, data"
)
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


async def wake(connection: Connection, endpoint_id: UUID, *, down_since: datetime) -> None:
    """Make events due now that others overtook while their endpoint was down; refused ones keep their schedule."""
    await connection.execute(
        """
        UPDATE webhook_deliveries SET due_at = now()
        WHERE endpoint_id = $1 AND due_at > now() AND created_at >= $2
            AND coalesce((attempts -> -1 ->> 'status')::int, 500) >= 500
        """,
        endpoint_id,
        down_since,
    )


async def has_delivered_since(connection: Connection, endpoint_id: UUID, moment: datetime) -> bool:
    """Return whether an event was delivered to the endpoint after a moment."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM webhook_deliveries
            WHERE endpoint_id = $1 AND state = 'delivered' AND ended_at > $2
        )
        """,
        endpoint_id,
        moment,
    )
    return found


async def add(
    connection: Connection, endpoint_id: UUID, *, event_id: str, event_type: str, data: Mapping[str, Any]
) -> Delivery:
    """Add an event that belongs to no feed; it is due now."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, state, data, due_at)
        VALUES ($1, $2, $3, 'pending', $4::jsonb, now()) RETURNING {_COLUMNS}
        """,
        endpoint_id,
        event_id,
        event_type,
        json.dumps(data),
    )
    assert row is not None, "an insert returns its row"  # noqa: S101 - states what the statement guarantees
    await connection.execute(f"NOTIFY {CHANNEL}")
    return _delivery_of(row)


async def retry(connection: Connection, endpoint_id: UUID, delivery_id: int) -> Delivery | None:
    """Make an event due now, apart from its feed, whatever came of it before; None if there is no such delivery."""
    row = await connection.fetchrow(
        f"""
        UPDATE webhook_deliveries SET state = 'pending', due_at = now(), ended_at = NULL
        WHERE endpoint_id = $1 AND delivery_id = $2 RETURNING {_COLUMNS}
        """,
        endpoint_id,
        delivery_id,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")
    return None if row is None else _delivery_of(row)


async def due(connection: Connection, *, limit: int) -> list[Waiting]:
    """Return up to `limit` deliveries that are due apart from their feeds, the longest due first."""
    rows = await connection.fetch(
        """
        SELECT d.endpoint_id, d.delivery_id, e.failing_since IS NOT NULL
        FROM webhook_deliveries d JOIN webhook_endpoints e USING (endpoint_id)
        WHERE d.due_at <= now() AND (d.lease_until IS NULL OR d.lease_until < now())
            AND (e.disabled_reason = '' OR d.event_type = 'webhook.test') AND e.application_id IS NOT NULL
        ORDER BY d.due_at LIMIT $1
        """,
        limit,
    )
    return [Waiting(*row) for row in rows]


async def claim(
    connection: Connection, endpoint_id: UUID, delivery_id: int, *, lease_seconds: float
) -> Delivery | None:
    """Claim a delivery that is due; None if another deliverer has it."""
    row = await connection.fetchrow(
        f"""
        UPDATE webhook_deliveries SET lease_until = now() + make_interval(secs => $3)
        WHERE endpoint_id = $1 AND delivery_id = $2 AND due_at <= now()
            AND (lease_until IS NULL OR lease_until < now())
        RETURNING {_COLUMNS}
        """,
        endpoint_id,
        delivery_id,
        lease_seconds,
    )
    return None if row is None else _delivery_of(row)


async def record(
    connection: Connection,
    endpoint_id: UUID,
    delivery_id: int,
    attempt: Attempt | None,
    *,
    state: DeliveryState,
    pause: float | None = None,
) -> None:
    """Record what came of a delivery apart from its feed; it is due again after `pause` seconds, or never."""
    await connection.execute(
        f"""
        UPDATE webhook_deliveries d
        SET state = $3, tries = tries + jsonb_array_length($4::jsonb), lease_until = NULL,
            attempts = jsonb_path_query_array(attempts || $4::jsonb, '$[last - {_KEPT_TRIES - 1} to last]'),
            due_at = now() + make_interval(secs => $5), ended_at = CASE WHEN $5::float8 IS NULL THEN now() END
        WHERE endpoint_id = $1 AND delivery_id = $2
        """,
        endpoint_id,
        delivery_id,
        state.value,
        json.dumps([] if attempt is None else [attempt.to_json()]),
        pause,
    )


async def page(
    connection: Connection, endpoint_id: UUID, *, state: DeliveryState | None, before: int | None, limit: int
) -> list[Delivery]:
    """Return deliveries of an endpoint, the newest first; those from before the delivery `before` if it is given."""
    values = endpoint_id, state or "", before, limit
    if state is None or state is DeliveryState.DELIVERED:
        return await _page(connection, "($2 = '' OR state = $2)", values)
    # Postgres takes the index of what was not delivered only where the statement says so.
    return await _page(connection, "state = $2 AND state <> 'delivered'", values)


async def _page(connection: Connection, condition: str, values: tuple[object, ...]) -> list[Delivery]:
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM webhook_deliveries
        WHERE endpoint_id = $1 AND {condition} AND ($3::bigint IS NULL OR delivery_id < $3)
        ORDER BY delivery_id DESC LIMIT $4
        """,
        *values,
    )
    return [_delivery_of(row) for row in rows]


async def forget(connection: Connection, *, delivered_days: float, days: float, limit: int) -> int:
    """Delete up to `limit` old deliveries, those that came to their end earlier; return how many were deleted."""
    done = await connection.execute(
        """
        DELETE FROM webhook_deliveries WHERE (endpoint_id, delivery_id) IN (
            SELECT endpoint_id, delivery_id FROM webhook_deliveries
            WHERE created_at < now() - make_interval(secs => 86400 * $1::float8)
                AND (state = 'delivered' OR created_at < now() - make_interval(secs => 86400 * $2::float8))
            ORDER BY created_at LIMIT $3)
        """,
        delivered_days,
        days,
        limit,
    )
    return int(done.removeprefix("DELETE "))


async def erase_some(connection: Connection, endpoint_id: UUID, *, limit: int) -> bool:
    """Erase up to `limit` deliveries to an endpoint; return whether there were any."""
    done = await connection.execute(
        """
        DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND delivery_id = ANY(ARRAY(
            SELECT delivery_id FROM webhook_deliveries WHERE endpoint_id = $1
            ORDER BY delivery_id LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
        endpoint_id,
        limit,
    )
    return done != "DELETE 0"


def _delivery_of(row: asyncpg.Record) -> Delivery:
    return Delivery(
        delivery_id=row["delivery_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        account_id=row["account_id"],
        mailbox_id=row["mailbox_id"],
        seq=row["seq"],
        incarnation=row["incarnation"],
        state=DeliveryState(row["state"]),
        tries=row["tries"],
        attempts=json.loads(row["attempts"]),
        created_at=row["created_at"],
        due_at=row["due_at"],
        ended_at=row["ended_at"],
        data=json.loads(row["data"] or "{}"),
    )
