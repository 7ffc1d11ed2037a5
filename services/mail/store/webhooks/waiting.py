"""What waits for deliverers: feeds that are ahead of their cursors, and events whose next try is due.

Each statement finds so much of each endpoint: what one has no room for keeps nothing of another one from being found.
"""

from collections.abc import Sequence

from services.mail.store.connection import Connection
from services.mail.store.webhooks.leases import is_free
from services.mail.webhooks.model import Waiting

# Feeds `h` with something for the endpoint `e`, whose cursor `c` may be claimed. With an OR instead of the first CASE
# Postgres expects few feeds, and looks each cursor up by itself: that takes three times as long.
_IS_AHEAD = f"""
    e.disabled_reason = ''
    AND CASE WHEN e.account_ids IS NULL THEN true ELSE h.account_id = ANY(e.account_ids) END
    AND CASE WHEN c.mailbox_id IS NULL THEN h.moved_at > e.starts_at
        ELSE NOT c.is_ended AND (c.seq IS NULL OR c.seq < h.seq OR c.resync_due OR c.starts_at IS NOT NULL) END
    AND (c.due_at IS NULL OR c.due_at <= now()) AND {is_free("c")}
"""


def _planned(table: str) -> str:
    """Return the part of a statement that lists endpoints with planned tries, reading one row of each."""
    first = f"SELECT endpoint_id FROM {table} WHERE due_at IS NOT NULL"
    return f"""
    RECURSIVE planned AS (
        ({first} ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT ({first} AND endpoint_id > before.endpoint_id ORDER BY endpoint_id LIMIT 1)
        FROM planned before WHERE before.endpoint_id IS NOT NULL
    )
    """


async def feeds_of(connection: Connection, mailbox_ids: Sequence[int]) -> list[Waiting]:
    """Return the endpoints that have something to get from these mailboxes, each with the mailbox."""
    rows = await connection.fetch(
        f"""
        SELECT e.endpoint_id, h.mailbox_id, e.failing_since IS NOT NULL
        FROM feed_heads h JOIN webhook_endpoints e USING (application_id)
        LEFT JOIN webhook_cursors c ON (c.endpoint_id, c.mailbox_id) = (e.endpoint_id, h.mailbox_id)
        WHERE h.mailbox_id = ANY($1::bigint[]) AND {_IS_AHEAD}
        """,
        mailbox_ids,
    )
    return [Waiting(*row) for row in rows]


async def feeds(connection: Connection, *, limit: int) -> list[Waiting]:
    """Return up to `limit` mailboxes of each endpoint that has something to get from them."""
    rows = await connection.fetch(
        f"""
        SELECT e.endpoint_id, w.mailbox_id, e.failing_since IS NOT NULL
        FROM webhook_endpoints e CROSS JOIN LATERAL (
            SELECT h.mailbox_id FROM feed_heads h
            LEFT JOIN webhook_cursors c ON c.endpoint_id = e.endpoint_id AND c.mailbox_id = h.mailbox_id
            WHERE h.application_id = e.application_id AND {_IS_AHEAD} LIMIT $1
        ) w
        """,
        limit,
    )
    return [Waiting(*row) for row in rows]


async def due_feeds(connection: Connection, *, limit: int) -> list[Waiting]:
    """Return up to `limit` mailboxes of each endpoint whose failed event is due again, the longest due first."""
    rows = await connection.fetch(
        f"""
        WITH {_planned("webhook_cursors")}
        SELECT e.endpoint_id, w.mailbox_id, e.failing_since IS NOT NULL
        FROM planned JOIN webhook_endpoints e USING (endpoint_id) CROSS JOIN LATERAL (
            SELECT c.mailbox_id FROM webhook_cursors c
            WHERE c.endpoint_id = e.endpoint_id AND c.due_at <= now() AND {is_free("c")} ORDER BY c.due_at LIMIT $1
        ) w
        WHERE e.disabled_reason = ''
        """,
        limit,
    )
    return [Waiting(*row) for row in rows]


async def due_deliveries(connection: Connection, *, limit: int) -> list[Waiting]:
    """Return up to `limit` deliveries of each endpoint that are due apart from their feeds, the longest due first.

    An endpoint that is disabled gets tests only, which are pending until they were tried.
    """
    rows = await connection.fetch(
        f"""
        WITH {_planned("webhook_deliveries")}
        SELECT e.endpoint_id, w.delivery_id, e.failing_since IS NOT NULL
        FROM planned JOIN webhook_endpoints e USING (endpoint_id) CROSS JOIN LATERAL (
            (SELECT d.delivery_id FROM webhook_deliveries d
            WHERE e.disabled_reason = '' AND d.endpoint_id = e.endpoint_id AND d.due_at <= now() AND {is_free("d")}
            ORDER BY d.due_at LIMIT $1)
            UNION ALL
            (SELECT d.delivery_id FROM webhook_deliveries d
            WHERE e.disabled_reason <> '' AND d.endpoint_id = e.endpoint_id AND d.state = 'pending'
                AND d.state <> 'delivered' AND d.event_type = 'webhook.test' AND d.due_at <= now() AND {is_free("d")}
            LIMIT $1)
        ) w
        WHERE e.application_id IS NOT NULL
        """,
        limit,
    )
    return [Waiting(*row) for row in rows]
