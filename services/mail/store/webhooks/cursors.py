"""How far feeds are delivered to endpoints: claims of deliverers, and where these begin and go on.

A deliverer that was thought dead cannot write after another took over: each statement changes the very row that has the
lease, and compares the epoch in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.mail.store.connection import Connection
from services.mail.store.webhooks.endpoints import COLUMNS, endpoint_of
from services.mail.store.webhooks.leases import is_free
from services.mail.webhooks.model import CursorLease, Endpoint

_LEASED = "endpoint_id = $1 AND mailbox_id = $2 AND lease_owner = $3 AND lease_epoch = $4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The latest change of a mailbox's feed, and its account. `disconnected_at`: the mailbox is no more."""

    account_id: UUID
    seq: int
    incarnation: int
    disconnected_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFeed:
    """A feed on its way to an endpoint, with the encrypted secrets that sign now, the newest first."""

    endpoint: Endpoint
    secrets: Sequence[bytes]
    head: Head


async def claim(
    connection: Connection, endpoint_id: UUID, mailbox_id: int, *, owner: UUID, lease_seconds: float
) -> CursorLease | None:
    """Claim a cursor, or make it; None if it is not free or not due, or its endpoint is disabled.

    A claim waits for requests that have locked the endpoint, and these wait for it: none misses the other.
    """
    row = await connection.fetchrow(
        f"""
        INSERT INTO webhook_cursors AS c (endpoint_id, mailbox_id, lease_owner, lease_until, lease_epoch)
        SELECT endpoint_id, $2, $3, now() + make_interval(secs => $4), 1 FROM webhook_endpoints
        WHERE endpoint_id = $1 AND disabled_reason = '' FOR SHARE
        ON CONFLICT (endpoint_id, mailbox_id) DO UPDATE
        SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until, lease_epoch = c.lease_epoch + 1
        WHERE {is_free("c")} AND (c.due_at IS NULL OR c.due_at <= now()) AND NOT c.is_ended
        RETURNING *, now() AS claimed_at
        """,
        endpoint_id,
        mailbox_id,
        owner,
        lease_seconds,
    )
    return None if row is None else _lease_of(row)


async def opened(connection: Connection, lease: CursorLease) -> OpenedFeed | None:
    """Return what a delivery from a claimed cursor needs; None if its endpoint is disabled, or the feed no more."""
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS}, h.account_id, h.seq, h.incarnation, h.disconnected_at, ARRAY(
            SELECT encrypted FROM webhook_secrets
            WHERE endpoint_id = $1 AND (ends_at IS NULL OR ends_at > now()) ORDER BY secret_id DESC
        ) AS secrets
        FROM webhook_endpoints e JOIN feed_heads h ON h.mailbox_id = $2
        WHERE e.endpoint_id = $1 AND e.disabled_reason = ''
        """,
        lease.endpoint_id,
        lease.mailbox_id,
    )
    if row is None:
        return None
    head = Head(**{name: row[name] for name in ("account_id", "seq", "incarnation", "disconnected_at")})
    return OpenedFeed(endpoint=endpoint_of(row), secrets=[bytes(each) for each in row["secrets"]], head=head)


async def begin(connection: Connection, lease: CursorLease, *, seq: int, incarnation: int) -> bool:
    """Let a chain begin after a change; return whether the lease is still held."""
    done = await connection.execute(
        f"""
        UPDATE webhook_cursors
        SET seq = $5, previous_seq = $5, previous_incarnation = $6, chain_start = true, starts_at = NULL
        WHERE {_LEASED}
        """,
        *_key(lease),
        seq,
        incarnation,
    )
    return done == "UPDATE 1"


async def require_resync(connection: Connection, lease: CursorLease, *, seq: int) -> bool:
    """Go on after `seq`, with the news that changes before it are lost; return whether the lease is still held."""
    done = await connection.execute(
        f"UPDATE webhook_cursors SET seq = $5, resync_due = true, tries = 0, failing_since = NULL WHERE {_LEASED}",
        *_key(lease),
        seq,
    )
    return done == "UPDATE 1"


async def skip(connection: Connection, lease: CursorLease, *, seq: int, lease_seconds: float) -> bool:
    """Go on after changes that the endpoint does not want; return whether the lease was still held."""
    done = await connection.execute(
        f"UPDATE webhook_cursors SET seq = $5, lease_until = now() + make_interval(secs => $6) WHERE {_LEASED}",
        *_key(lease),
        seq,
        lease_seconds,
    )
    return done == "UPDATE 1"


async def end(connection: Connection, lease: CursorLease) -> None:
    """Give the cursor of a mailbox that is disconnected back for good."""
    await connection.execute(
        f"UPDATE webhook_cursors SET is_ended = true, lease_owner = NULL, lease_until = NULL WHERE {_LEASED}",
        *_key(lease),
    )


async def release(connection: Connection, lease: CursorLease, *, seq: int | None) -> bool:
    """Give the cursor back, at `seq` if that is known and later; return whether the feed has moved beyond it."""
    moved: bool | None = await connection.fetchval(
        f"""
        UPDATE webhook_cursors c
        SET lease_owner = NULL, lease_until = NULL, seq = greatest(seq, $5),
            due_at = CASE WHEN tries = 0 THEN NULL ELSE due_at END
        WHERE {_LEASED}
        RETURNING (SELECT h.seq FROM feed_heads h WHERE h.mailbox_id = c.mailbox_id) > c.seq
        """,
        *_key(lease),
        seq,
    )
    return bool(moved)


async def wake(connection: Connection, endpoint_id: UUID, *, down_since: datetime | None) -> None:
    """Bring failed events of an endpoint forward that takes events again; it was down since then, None: for ever.

    What has failed in this time is due now. What has failed before meets an endpoint that takes other events: it waits
    for as long again as it has failed. Refused events keep their schedule.
    """
    await connection.execute(
        """
        UPDATE webhook_cursors SET due_at = least(due_at, CASE
            WHEN $2::timestamptz IS NULL OR failing_since >= $2 THEN now() ELSE now() + (now() - failing_since) END)
        WHERE endpoint_id = $1 AND due_at > now() AND lease_until IS NULL AND NOT is_refused
        """,
        endpoint_id,
        down_since,
    )


async def erase_some(connection: Connection, endpoint_id: UUID, *, limit: int) -> bool:
    """Erase up to `limit` cursors of an endpoint; return whether there were any."""
    done = await connection.execute(
        """
        DELETE FROM webhook_cursors WHERE endpoint_id = $1 AND mailbox_id = ANY(ARRAY(
            SELECT mailbox_id FROM webhook_cursors WHERE endpoint_id = $1
            ORDER BY mailbox_id LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
        endpoint_id,
        limit,
    )
    return done != "DELETE 0"


async def forget_ended(connection: Connection, *, limit: int) -> int:
    """Delete up to `limit` cursors of mailboxes without a head; return how many were deleted."""
    done = await connection.execute(
        """
        DELETE FROM webhook_cursors WHERE (endpoint_id, mailbox_id) IN (
            SELECT c.endpoint_id, c.mailbox_id FROM webhook_cursors c
            WHERE NOT EXISTS (SELECT FROM feed_heads h WHERE h.mailbox_id = c.mailbox_id) LIMIT $1)
        """,
        limit,
    )
    return int(done.removeprefix("DELETE "))


async def failing(connection: Connection) -> tuple[int, float]:
    """Return how many cursors wait for another try, and the seconds since the first of their failures."""
    row = await connection.fetchrow(
        """
        SELECT count(*), coalesce(extract(epoch FROM now() - min(webhook_cursors.failing_since))::float8, 0) AS seconds
        FROM webhook_cursors JOIN webhook_endpoints e USING (endpoint_id)
        WHERE due_at IS NOT NULL AND webhook_cursors.failing_since IS NOT NULL AND e.application_id IS NOT NULL
        """
    )
    assert row is not None, "an aggregate has one row"  # noqa: S101 - states what the statement guarantees
    return row["count"], row["seconds"]


def _key(lease: CursorLease) -> tuple[UUID, int, UUID, int]:
    """Return the values of _LEASED."""
    return lease.endpoint_id, lease.mailbox_id, lease.owner, lease.epoch


def _lease_of(row: asyncpg.Record) -> CursorLease:
    return CursorLease(
        endpoint_id=row["endpoint_id"],
        mailbox_id=row["mailbox_id"],
        owner=row["lease_owner"],
        epoch=row["lease_epoch"],
        claimed_at=row["claimed_at"],
        seq=row["seq"],
        starts_at=row["starts_at"],
        previous_incarnation=row["previous_incarnation"],
        previous_seq=row["previous_seq"],
        chain_start=row["chain_start"],
        replayed_until=row["replayed_until"],
        resync_due=row["resync_due"],
        tries=row["tries"],
        failing_since=row["failing_since"],
    )
