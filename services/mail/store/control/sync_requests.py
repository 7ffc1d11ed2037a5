"""Requests for syncs by their idempotency keys, so that a repeat starts nothing."""

from dataclasses import dataclass
from uuid import UUID

from services.mail.store.connection import Connection

# Expired requests that a new one deletes: more than come in, so that they do not pile up.
_DELETED_AT_ONCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """A request of a user for a sync of the newest messages (None for all), with its idempotency key."""

    user_id: UUID
    key: str
    mailbox_id: int
    newest_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The request that had the key first, with the sync that answered it."""

    request: SyncRequest
    sync_id: int


async def find(connection: Connection, user_id: UUID, key: str) -> Answered | None:
    """Return the request of the last 24 hours with this key."""
    row = await connection.fetchrow(
        """
        SELECT user_id, key, mailbox_id, newest_count, sync_id FROM sync_requests
        WHERE user_id = $1 AND key = $2 AND created_at > now() - interval '24 hours'
        """,
        user_id,
        key,
    )
    if row is None:
        return None
    values = dict(row)
    return Answered(sync_id=values.pop("sync_id"), request=SyncRequest(**values))


async def count(connection: Connection, user_id: UUID, *, most: int) -> int:
    """Return the number of the user's requests of the last 24 hours, counted up to `most`."""
    return int(
        await connection.fetchval(
            """
            SELECT count(*) FROM (
                SELECT FROM sync_requests
                WHERE user_id = $1 AND created_at > now() - interval '24 hours' LIMIT $2
            ) counted
            """,
            user_id,
            most,
        )
    )


async def claim(connection: Connection, request: SyncRequest) -> bool:
    """Store the request unless its key is taken; waits for a transaction that is taking it.

    `answer` follows in the same transaction.
    """
    await _delete_expired(connection)
    return bool(
        await connection.fetchval(
            """
            INSERT INTO sync_requests AS r (user_id, key, mailbox_id, newest_count) VALUES ($1, $2, $3, $4)
            ON CONFLICT (user_id, key) DO UPDATE
            SET mailbox_id = excluded.mailbox_id, newest_count = excluded.newest_count, created_at = now()
            WHERE r.created_at <= now() - interval '24 hours'
            RETURNING true
            """,
            request.user_id,
            request.key,
            request.mailbox_id,
            request.newest_count,
        )
    )


async def answer(connection: Connection, request: SyncRequest, *, sync_id: int) -> None:
    """Store the sync that answers a claimed request."""
    await connection.execute(
        "UPDATE sync_requests SET sync_id = $3 WHERE user_id = $1 AND key = $2", request.user_id, request.key, sync_id
    )


async def _delete_expired(connection: Connection) -> None:
    await connection.execute(
        """
        DELETE FROM sync_requests WHERE (user_id, key) IN (
            SELECT user_id, key FROM sync_requests WHERE created_at <= now() - interval '24 hours'
            ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        """,
        _DELETED_AT_ONCE,
    )
