"""What was delivered, tried and parked, and events that are delivered apart from their feeds."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.mail.store.connection import Connection
from services.mail.store.webhooks.leases import is_free
from services.mail.webhooks.model import Attempt, Delivery, DeliveryState

# Deliverers listen: something is due apart from its feed. There is no payload.
CHANNEL = "webhook_deliveries_due"
# Tries of an event that are kept, the last ones.
KEPT_TRIES = 10
_COLUMNS = (
    "delivery_id, event_id, event_type, account_id, mailbox_id, seq, incarnation, state, tries, attempts, created_at, "
    "due_at, ended_at, data"
)


async def wake(connection: Connection, endpoint_id: UUID, *, down_since: datetime, limit: int) -> bool:
    """Make up to `limit` events due now that others overtook while their endpoint was down; refused ones are not.

    Returns whether there were any.
    """
    done = await connection.execute(
        """
        UPDATE webhook_deliveries SET due_at = now() WHERE endpoint_id = $1 AND delivery_id = ANY(ARRAY(
            SELECT delivery_id FROM webhook_deliveries
            WHERE endpoint_id = $1 AND due_at > now() AND created_at >= $2
                AND coalesce((attempts -> -1 ->> 'status')::int, 500) >= 500
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED))
        """,
        endpoint_id,
        down_since,
        limit,
    )
    return done != "UPDATE 0"


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


async def claim(
    connection: Connection, endpoint_id: UUID, delivery_id: int, *, lease_seconds: float
) -> Delivery | None:
    """Claim a delivery that is due; None if another deliverer has it, or its endpoint gets nothing any more."""
    row = await connection.fetchrow(
        f"""
        UPDATE webhook_deliveries d SET lease_until = now() + make_interval(secs => $3)
        WHERE endpoint_id = $1 AND delivery_id = $2 AND due_at <= now() AND {is_free("d")} AND EXISTS (
            SELECT FROM webhook_endpoints e
            WHERE e.endpoint_id = $1 AND e.application_id IS NOT NULL
                AND (e.disabled_reason = '' OR d.event_type = 'webhook.test'))
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
            attempts = jsonb_path_query_array(attempts || $4::jsonb, '$[last - {KEPT_TRIES - 1} to last]'),
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
