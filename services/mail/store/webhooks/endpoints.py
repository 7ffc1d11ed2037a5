"""Endpoints of applications."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.mail.store.connection import Connection
from services.mail.webhooks.model import DeliveryOrder, DisabledReason, Endpoint, EndpointRules

# Deliverers listen: an endpoint is new or changed, or is to get what it got before. There is no payload.
CHANNEL = "webhooks_changed"
# Of an endpoint `e`.
COLUMNS = """
    e.endpoint_id, e.application_id, e.url, e.description, e.event_types, e.account_ids, e.backfill, e.delivery_order,
    e.disabled_reason, e.starts_at, e.failing_since, e.refused_in_row, e.created_at, e.disabled_at
"""


async def lock_application(connection: Connection, application_id: UUID) -> None:
    """Serialise the creation of an application's endpoints until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", str(application_id))


async def count(connection: Connection, application_id: UUID) -> int:
    """Return how many endpoints an application has."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM webhook_endpoints WHERE application_id = $1", application_id
    )
    return found


async def add(connection: Connection, endpoint_id: UUID, application_id: UUID, rules: EndpointRules) -> Endpoint:
    """Add an endpoint. Changes from now on are delivered, or all with `backfill`."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO webhook_endpoints AS e
            (endpoint_id, application_id, url, description, event_types, account_ids, backfill, delivery_order,
             starts_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $7 THEN 'epoch' ELSE now() END)
        RETURNING {COLUMNS}
        """,
        endpoint_id,
        application_id,
        rules.url,
        rules.description,
        list(rules.event_types),
        None if rules.account_ids is None else list(rules.account_ids),
        rules.backfill,
        rules.order.value,
    )
    assert row is not None, "an insert returns its row"  # noqa: S101 - states what the statement guarantees
    await connection.execute(f"NOTIFY {CHANNEL}")
    return endpoint_of(row)


async def of_application(connection: Connection, application_id: UUID) -> list[Endpoint]:
    """Return the endpoints of an application, oldest first."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM webhook_endpoints e WHERE application_id = $1 ORDER BY created_at, endpoint_id",
        application_id,
    )
    return [endpoint_of(row) for row in rows]


async def find(
    connection: Connection, application_id: UUID, endpoint_id: UUID, *, lock: bool = False
) -> Endpoint | None:
    """Return an endpoint of an application; with `lock` it stays as it is until the transaction ends."""
    if lock:
        # Not FOR UPDATE: a deliverer that has a cursor and adds a delivery would wait for this transaction, which waits
        # for the cursor.
        await connection.execute("SELECT FROM webhook_endpoints WHERE endpoint_id = $1 FOR NO KEY UPDATE", endpoint_id)
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM webhook_endpoints e WHERE application_id = $1 AND endpoint_id = $2",
        application_id,
        endpoint_id,
    )
    return None if row is None else endpoint_of(row)


async def by_id(connection: Connection, endpoint_id: UUID) -> Endpoint | None:
    """Return an endpoint, also one that is disabled; None if it is hidden or unknown."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM webhook_endpoints e WHERE endpoint_id = $1 AND application_id IS NOT NULL", endpoint_id
    )
    return None if row is None else endpoint_of(row)


async def change(connection: Connection, endpoint_id: UUID, rules: EndpointRules) -> None:
    """Replace what is asked of an endpoint."""
    await connection.execute(
        """
        UPDATE webhook_endpoints SET url = $2, description = $3, event_types = $4, account_ids = $5, delivery_order = $6
        WHERE endpoint_id = $1
        """,
        endpoint_id,
        rules.url,
        rules.description,
        list(rules.event_types),
        None if rules.account_ids is None else list(rules.account_ids),
        rules.order.value,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")


async def announce(connection: Connection) -> None:
    """Tell deliverers on commit that something waits."""
    await connection.execute(f"NOTIFY {CHANNEL}")


async def start_now(connection: Connection, endpoint_id: UUID) -> None:
    """Let mailboxes without a cursor begin with the changes after now."""
    await connection.execute("UPDATE webhook_endpoints SET starts_at = now() WHERE endpoint_id = $1", endpoint_id)


async def start_by(connection: Connection, endpoint_id: UUID, moment: datetime) -> None:
    """Let mailboxes without a cursor begin with the changes after a moment at the latest."""
    await connection.execute(
        "UPDATE webhook_endpoints SET starts_at = least(starts_at, $2) WHERE endpoint_id = $1", endpoint_id, moment
    )


async def hide(connection: Connection, application_id: UUID, endpoint_id: UUID | None = None) -> list[UUID]:
    """Hide an endpoint, or all, from their application, and return their ids; deliverers erase them.

    An endpoint without an application does not exist for readers. It is disabled, too: it gets no event.
    """
    rows = await connection.fetch(
        """
        UPDATE webhook_endpoints SET application_id = NULL, disabled_reason = 'requested', disabled_at = now()
        WHERE application_id = $1 AND ($2::uuid IS NULL OR endpoint_id = $2)
        RETURNING endpoint_id
        """,
        application_id,
        endpoint_id,
    )
    return [row["endpoint_id"] for row in rows]


async def hidden(connection: Connection) -> list[UUID]:
    """Return the ids of hidden endpoints, which are to be erased."""
    rows = await connection.fetch("SELECT endpoint_id FROM webhook_endpoints WHERE application_id IS NULL")
    return [row["endpoint_id"] for row in rows]


async def erase(connection: Connection, endpoint_id: UUID) -> None:
    """Delete a hidden endpoint whose cursors and deliveries are erased, with its secrets."""
    await connection.execute(
        "DELETE FROM webhook_endpoints WHERE endpoint_id = $1 AND application_id IS NULL", endpoint_id
    )


async def follow_clock(connection: Connection) -> None:
    """Let endpoints that start in the future start a minute ago: Postgres's clock was set back since they were made.

    Else the changes until then would be from before the start.
    """
    await connection.execute(
        "UPDATE webhook_endpoints SET starts_at = now() - interval '1 minute' WHERE starts_at > now()"
    )


async def enable(connection: Connection, endpoint_id: UUID) -> None:
    """Enable an endpoint."""
    await connection.execute(
        """
        UPDATE webhook_endpoints
        SET disabled_reason = '', disabled_at = NULL, failing_since = NULL, refused_in_row = 0
        WHERE endpoint_id = $1
        """,
        endpoint_id,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")


async def disable(connection: Connection, endpoint_id: UUID, reason: DisabledReason) -> bool:
    """Disable an endpoint; return whether it was enabled."""
    done = await connection.execute(
        """
        UPDATE webhook_endpoints SET disabled_reason = $2, disabled_at = now()
        WHERE endpoint_id = $1 AND disabled_reason = ''
        """,
        endpoint_id,
        reason.value,
    )
    return done == "UPDATE 1"


async def note_success(connection: Connection, endpoint_id: UUID) -> None:
    """Record that an event was delivered after failures."""
    await connection.execute(
        "UPDATE webhook_endpoints SET failing_since = NULL, refused_in_row = 0 WHERE endpoint_id = $1", endpoint_id
    )


async def note_failure(connection: Connection, endpoint_id: UUID, *, passed_by: bool) -> None:
    """Record that an event was not delivered, and whether those after it go on."""
    await connection.execute(
        """
        UPDATE webhook_endpoints
        SET failing_since = coalesce(failing_since, now()), refused_in_row = refused_in_row + $2::int
        WHERE endpoint_id = $1
        """,
        endpoint_id,
        int(passed_by),
    )


async def subscribed(connection: Connection, application_id: UUID, event_type: str) -> list[UUID]:
    """Lock and return the enabled endpoints of an application that want events of a type: none is erased meanwhile."""
    rows = await connection.fetch(
        """
        SELECT endpoint_id FROM webhook_endpoints
        WHERE application_id = $1 AND disabled_reason = '' AND (event_types = '{}' OR $2 = ANY(event_types))
        FOR KEY SHARE
        """,
        application_id,
        event_type,
    )
    return [row["endpoint_id"] for row in rows]


async def counts(connection: Connection) -> dict[str, int]:
    """Count the endpoints by state: ok, failing, or the reason why they are disabled."""
    rows: Sequence[asyncpg.Record] = await connection.fetch(
        """
        SELECT CASE WHEN disabled_reason <> '' THEN 'disabled' WHEN failing_since IS NOT NULL THEN 'failing'
            ELSE 'ok' END AS state, count(*)
        FROM webhook_endpoints WHERE application_id IS NOT NULL GROUP BY 1
        """
    )
    return {row["state"]: row["count"] for row in rows}


def endpoint_of(row: asyncpg.Record) -> Endpoint:
    """Return the endpoint of a row with this module's columns."""
    return Endpoint(
        endpoint_id=row["endpoint_id"],
        application_id=row["application_id"],
        rules=EndpointRules(
            url=row["url"],
            event_types=tuple(row["event_types"]),
            account_ids=None if row["account_ids"] is None else tuple(row["account_ids"]),
            description=row["description"],
            backfill=row["backfill"],
            order=DeliveryOrder(row["delivery_order"]),
        ),
        disabled_reason=row["disabled_reason"],
        starts_at=row["starts_at"],
        failing_since=row["failing_since"],
        refused_in_row=row["refused_in_row"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )
