"""Verifications: their schedule and their results."""

from dataclasses import dataclass

from services.mail.model import Listing
from services.mail.store.connection import Connection
from services.mail.store.sync import sync_state


async def request(connection: Connection, mailbox_id: int, *, hint_seq: int, trace_parent: str | None) -> int | None:
    """Make the active sync verify, or start one for the coverage; return its id, None without any coverage."""
    sync_id: int | None = await connection.fetchval(
        """
        INSERT INTO syncs AS s (mailbox_id, state, newest_count, hint_seq, listing_done, verification, trace_parent)
        SELECT $1, 'queued', CASE WHEN NOT covered_all THEN covered_count END, $2, true, 'wanted', $3
        FROM sync_states WHERE mailbox_id = $1 AND (covered_all OR covered_count > 0 OR EXISTS (
            SELECT FROM syncs WHERE mailbox_id = $1 AND ended_at IS NULL))
        ON CONFLICT (mailbox_id) WHERE ended_at IS NULL DO UPDATE
        SET hint_seq = excluded.hint_seq, verification = coalesce(s.verification, 'wanted'),
            trace_parent = coalesce(excluded.trace_parent, s.trace_parent)
        RETURNING sync_id
        """,
        mailbox_id,
        hint_seq,
        trace_parent,
    )
    return sync_id


async def is_due(connection: Connection, mailbox_id: int) -> bool:
    """Return whether the mailbox's next verification is due."""
    due: bool | None = await connection.fetchval(
        "SELECT verify_at <= now() AND (covered_all OR covered_count > 0) FROM sync_states WHERE mailbox_id = $1",
        mailbox_id,
    )
    return bool(due)


async def plan_next(connection: Connection, mailbox_id: int, *, seconds: float, verified: bool) -> None:
    """Schedule the next verification in `seconds` (0 for never), if none is scheduled or one was just done."""
    await connection.execute(
        """
        UPDATE sync_states SET verify_at = CASE
            WHEN $2::float8 = 0 THEN NULL
            WHEN $3::bool OR verify_at IS NULL THEN now() + make_interval(secs => $2)
            ELSE verify_at END
        WHERE mailbox_id = $1 AND ($3::bool OR (verify_at IS NULL) <> ($2::float8 = 0))
        """,
        mailbox_id,
        seconds,
        verified,
    )


async def bring_forward(connection: Connection, mailbox_id: int, *, seconds: float) -> None:
    """Have the next verification begin within `seconds`."""
    await connection.execute(
        """
        UPDATE sync_states SET verify_at = least(verify_at, now() + make_interval(secs => $2)) WHERE mailbox_id = $1
        """,
        mailbox_id,
        seconds,
    )


async def begin(connection: Connection, mailbox_id: int) -> None:
    """Start the listing of ids for the active sync, with zero differences."""
    await sync_state.start_listing(connection, mailbox_id, Listing.VERIFY_IDS, target=None)
    await connection.execute(
        """
        UPDATE syncs SET missing_count = 0, extra_count = 0, drift_count = 0
        WHERE mailbox_id = $1 AND ended_at IS NULL
        """,
        mailbox_id,
    )


async def count(connection: Connection, mailbox_id: int, *, missing: int = 0, extra: int = 0, drift: int = 0) -> None:
    """Add to the differences that the active sync has found."""
    await connection.execute(
        """
        UPDATE syncs SET missing_count = missing_count + $2, extra_count = extra_count + $3,
            drift_count = drift_count + $4
        WHERE mailbox_id = $1 AND ended_at IS NULL
        """,
        mailbox_id,
        missing,
        extra,
        drift,
    )


async def set_done(connection: Connection, mailbox_id: int) -> None:
    """Record that the active sync has compared everything. Differences are queued."""
    await connection.execute(
        "UPDATE syncs SET verification = 'done' WHERE mailbox_id = $1 AND ended_at IS NULL", mailbox_id
    )


async def set_digest(connection: Connection, mailbox_id: int, digest: str) -> None:
    """Store the digest of the stored messages in the active sync."""
    await connection.execute(
        "UPDATE syncs SET digest = $2 WHERE mailbox_id = $1 AND ended_at IS NULL", mailbox_id, digest
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfDigest:
    """The digest of some messages, and the number of the last one; None if there is none."""

    value: int
    last: int | None


async def part_of_digest(connection: Connection, mailbox_id: int, *, after: int, limit: int) -> PartOfDigest:
    """Return the digest of up to `limit` stored messages whose numbers follow `after`.

    The digest is the XOR, over all messages, of the first 128 bits of the SHA-256 of `id label,label,...` with the
    provider's ids and the labels in byte order. It can be computed in any order of messages, in constant memory.
    """
    row = await connection.fetchrow(
        """
        WITH portion AS (
            SELECT message_id, external_id, label_ids FROM messages WHERE mailbox_id = $1 AND message_id > $2
            ORDER BY message_id LIMIT $3
        ), hashes AS (
            SELECT message_id, encode(sha256(convert_to(external_id || ' ' || coalesce((
                SELECT string_agg(label, ',' ORDER BY label COLLATE "C") FROM unnest(label_ids) AS l(label)), ''),
                'UTF8')), 'hex') AS hex
            FROM portion
        )
        SELECT coalesce(bit_xor(('x' || left(hex, 16))::bit(64)::bigint), 0) AS high,
            coalesce(bit_xor(('x' || substr(hex, 17, 16))::bit(64)::bigint), 0) AS low, max(message_id) AS last
        FROM hashes
        """,
        mailbox_id,
        after,
        limit,
    )
    assert row is not None, "an aggregate has one row"  # noqa: S101 - states what the statement guarantees
    return PartOfDigest(value=row["high"] % 2**64 << 64 | row["low"] % 2**64, last=row["last"])
