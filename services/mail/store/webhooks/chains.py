"""What requests of applications do to cursors: the deliveries of mailboxes begin anew, and leases end.

Raising the epoch of a lease rejects what is under way. Whoever calls has locked the endpoint before: claims wait for
that, so that none is missed.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.mail.store.connection import Connection
from services.mail.webhooks.model import Endpoint


async def interrupt(connection: Connection, *endpoint_ids: UUID) -> None:
    """Take the cursors of endpoints from deliverers."""
    await connection.execute(
        """
        UPDATE webhook_cursors SET lease_epoch = lease_epoch + 1, lease_owner = NULL, lease_until = NULL
        WHERE endpoint_id = ANY($1) AND lease_until IS NOT NULL
        """,
        endpoint_ids,
    )


async def begin_waiting(connection: Connection, endpoint: Endpoint) -> None:
    """Make the cursors of mailboxes that wait without one, at the start of their endpoint, which is about to move."""
    await connection.execute(
        """
        INSERT INTO webhook_cursors (endpoint_id, mailbox_id, starts_at)
        SELECT $1, mailbox_id, $2 FROM feed_heads
        WHERE application_id = $3 AND moved_at > $2 AND ($4::uuid[] IS NULL OR account_id = ANY($4))
        ON CONFLICT DO NOTHING
        """,
        endpoint.endpoint_id,
        endpoint.starts_at,
        *_reach(endpoint),
    )


async def rebegin(connection: Connection, endpoint_id: UUID, *, account_ids: Sequence[UUID] | None) -> None:
    """Begin new chains after what was delivered, since other events or mailboxes are asked for; forget mailboxes."""
    if account_ids is not None:
        await connection.execute(
            """
            DELETE FROM webhook_cursors c USING feed_heads h
            WHERE c.endpoint_id = $1 AND h.mailbox_id = c.mailbox_id AND NOT h.account_id = ANY($2::uuid[])
            """,
            endpoint_id,
            list(account_ids),
        )
    await connection.execute(
        """
        UPDATE webhook_cursors
        SET chain_start = true, previous_seq = coalesce(seq, previous_seq), lease_epoch = lease_epoch + 1,
            lease_owner = NULL, lease_until = NULL, tries = 0, failing_since = NULL, due_at = NULL
        WHERE endpoint_id = $1
        """,
        endpoint_id,
    )


async def reaches(connection: Connection, endpoint: Endpoint, mailbox_id: int) -> bool:
    """Return whether an endpoint gets the events of a mailbox, which may be disconnected."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM feed_heads
            WHERE mailbox_id = $1 AND application_id = $2 AND ($3::uuid[] IS NULL OR account_id = ANY($3))
        )
        """,
        mailbox_id,
        *_reach(endpoint),
    )
    return found


async def replay(connection: Connection, endpoint_id: UUID, mailbox_id: int, *, seq: int, incarnation: int) -> None:
    """Deliver the events of a mailbox after a change once more, in a new chain."""
    await connection.execute(
        """
        INSERT INTO webhook_cursors AS c (endpoint_id, mailbox_id, seq, previous_seq, previous_incarnation)
        VALUES ($1, $2, $3, $3, $4)
        ON CONFLICT (endpoint_id, mailbox_id) DO UPDATE
        SET seq = least(c.seq, excluded.seq), previous_seq = least(c.seq, excluded.seq),
            previous_incarnation = excluded.previous_incarnation,
            chain_start = true, replayed_until = greatest(c.replayed_until, coalesce(c.seq, 0)),
            lease_epoch = c.lease_epoch + 1, lease_owner = NULL, lease_until = NULL, tries = 0, failing_since = NULL,
            due_at = now(), is_ended = false
        """,
        endpoint_id,
        mailbox_id,
        seq,
        incarnation,
    )


async def replay_all(connection: Connection, endpoint_id: UUID, moment: datetime) -> None:
    """Deliver the events of all mailboxes after a moment once more, after those that still wait, in new chains."""
    await connection.execute(
        """
        UPDATE webhook_cursors
        SET starts_at = least(starts_at, $2), chain_start = true,
            replayed_until = greatest(replayed_until, coalesce(seq, 0)), lease_epoch = lease_epoch + 1,
            lease_owner = NULL, lease_until = NULL, tries = 0, failing_since = NULL, due_at = now(), is_ended = false
        WHERE endpoint_id = $1
        """,
        endpoint_id,
        moment,
    )


def _reach(endpoint: Endpoint) -> tuple[UUID, list[UUID] | None]:
    """Return the application of an endpoint, and the accounts of its mailboxes; None: all of the application."""
    accounts = endpoint.rules.account_ids
    return endpoint.application_id, None if accounts is None else list(accounts)
