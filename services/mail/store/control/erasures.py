"""Disconnected mailboxes: hidden at once, then erased in batches, with a record of what was erased."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from services.mail.model import Lane, Mailbox, MailboxStatus
from services.mail.store.connection import Connection
from services.mail.store.control.schedule import CHANNEL

# Tables with many rows per mailbox. Other rows are deleted with the mailbox.
_LARGE = (
    *("mail_locations", "folder_records", "message_changes", "fetch_queue", "listed_ids", "dead_letters", "syncs"),
    *("thread_references", "thread_merges"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """A mailbox that is being erased."""

    mailbox: Mailbox
    # Whether auth has revoked the grant and deleted the tokens.
    revoked: bool


async def hide(connection: Connection, user_id: UUID, mailbox_id: int) -> bool:
    """Hide a mailbox from its user and schedule its erasure; return whether it was the user's.

    A mailbox without an owner does not exist for readers. Raising the lease epoch rejects further writes of its worker.
    """
    mine = await connection.fetchval(
        """
        INSERT INTO mailbox_schedule AS s (mailbox_id, lane, due_at)
        SELECT mailbox_id, $3, now() FROM mailboxes WHERE mailbox_id = $1 AND user_id = $2
        ON CONFLICT (mailbox_id) DO UPDATE
        SET lane = excluded.lane, due_at = excluded.due_at, attempts = 0, hint_seq = s.hint_seq + 1,
            lease_owner = NULL, lease_until = NULL, lease_epoch = s.lease_epoch + 1
        RETURNING true
        """,
        mailbox_id,
        user_id,
        Lane.LIVE,
    )
    hidden = mine and await connection.fetchval(
        """
        WITH hidden AS (
            UPDATE mailboxes SET user_id = NULL WHERE mailbox_id = $1 AND user_id = $2
            RETURNING mailbox_id, account_id, application_id, provider
        )
        INSERT INTO disconnections (mailbox_id, account_id, user_id, application_id, provider)
        SELECT mailbox_id, account_id, $2, application_id, provider FROM hidden RETURNING true
        """,
        mailbox_id,
        user_id,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")
    return bool(hidden)


async def is_requested(connection: Connection, account_id: UUID) -> bool:
    """Return whether the mailbox of an account is being disconnected, or was."""
    requested: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM disconnections WHERE account_id = $1)", account_id
    )
    return requested


async def is_erased(connection: Connection, user_id: UUID, account_id: UUID) -> bool | None:
    """Return whether the erasure of a disconnected account has ended; None if it was not disconnected."""
    erased: bool | None = await connection.fetchval(
        "SELECT ended_at IS NOT NULL FROM disconnections WHERE user_id = $1 AND account_id = $2", user_id, account_id
    )
    return erased


async def pending(connection: Connection, mailbox_id: int) -> Erasure | None:
    """Return the erasure of a hidden mailbox."""
    row = await connection.fetchrow(
        """
        SELECT d.mailbox_id, d.account_id, d.user_id, d.provider, m.email, m.limits_identity,
            d.revoked_at IS NOT NULL AS revoked
        FROM disconnections d JOIN mailboxes m USING (mailbox_id) WHERE d.mailbox_id = $1
        """,
        mailbox_id,
    )
    if row is None:
        return None
    mailbox = Mailbox(
        mailbox_id=row["mailbox_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        provider=row["provider"],
        email=row["email"],
        status=MailboxStatus.ACTIVE,
        limits_identity=row["limits_identity"] or "",
    )
    return Erasure(mailbox=mailbox, revoked=row["revoked"])


async def set_revoked(connection: Connection, mailbox_id: int) -> None:
    """Record that auth has ended the account."""
    await connection.execute("UPDATE disconnections SET revoked_at = now() WHERE mailbox_id = $1", mailbox_id)


async def erase_some(connection: Connection, mailbox_id: int, limit: int) -> bool:
    """Erase up to `limit` rows; return whether there were any."""
    done = await connection.execute(
        """
        DELETE FROM messages WHERE mailbox_id = $1 AND message_id = ANY(ARRAY(
            SELECT message_id FROM messages WHERE mailbox_id = $1 ORDER BY message_id LIMIT $2))
        """,
        mailbox_id,
        limit,
    )
    if messages := int(done.removeprefix("DELETE ")):
        await connection.execute(
            "UPDATE disconnections SET message_count = message_count + $2 WHERE mailbox_id = $1", mailbox_id, messages
        )
        return True
    for table in _LARGE:
        done = await connection.execute(
            f"""
            DELETE FROM {table} WHERE mailbox_id = $1 AND ctid = ANY(ARRAY(
                SELECT ctid FROM {table} WHERE mailbox_id = $1 LIMIT $2))
            """,
            mailbox_id,
            limit,
        )
        if done != "DELETE 0":
            return True
    return False


async def set_erased(connection: Connection, mailbox_id: int) -> None:
    """Record that no data of the mailbox is stored."""
    await connection.execute(
        "UPDATE disconnections SET erased_at = coalesce(erased_at, now()) WHERE mailbox_id = $1", mailbox_id
    )


async def end(connection: Connection, mailbox_id: int) -> int:
    """Delete the mailbox and its schedule; return how many messages were erased."""
    await connection.execute("DELETE FROM mailboxes WHERE mailbox_id = $1", mailbox_id)
    messages: int = await connection.fetchval(
        "UPDATE disconnections SET ended_at = now() WHERE mailbox_id = $1 RETURNING message_count", mailbox_id
    )
    return messages


async def lock_user(connection: Connection, user_id: UUID) -> None:
    """Serialise a request to delete the user with the end and the beginning of the user's mailboxes.

    The lock is held until the transaction ends.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", str(user_id))


async def hold_off_deletion(connection: Connection, user_id: UUID) -> None:
    """Let a request to delete the user wait until the transaction ends, so that it finds the mailboxes made in it.

    Transactions that hold it off do not wait for each other.
    """
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", str(user_id))


async def request_user(connection: Connection, user_id: UUID) -> None:
    """Record that auth must delete the user once all data is erased."""
    await connection.execute("INSERT INTO user_deletions (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user_id)


async def user_is_due(connection: Connection, user_id: UUID) -> bool:
    """Return whether auth must delete the user now: the deletion is requested and no data is left."""
    due: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM user_deletions WHERE user_id = $1 AND ended_at IS NULL)
            AND NOT EXISTS (SELECT FROM disconnections WHERE user_id = $1 AND erased_at IS NULL)
            AND NOT EXISTS (SELECT FROM mailboxes WHERE user_id = $1)
        """,
        user_id,
    )
    return due


async def is_application_erased(connection: Connection, application_id: UUID) -> bool:
    """Return whether no data of an application's mailboxes is left."""
    erased: bool = await connection.fetchval(
        """
        SELECT NOT EXISTS (SELECT FROM mailboxes WHERE application_id = $1)
            AND NOT EXISTS (SELECT FROM disconnections WHERE application_id = $1 AND erased_at IS NULL)
        """,
        application_id,
    )
    return erased


async def users_left_over(connection: Connection) -> list[UUID]:
    """Return the users to delete without a mailbox to erase, oldest request first."""
    rows = await connection.fetch(
        """
        SELECT user_id FROM user_deletions u
        WHERE ended_at IS NULL
            AND NOT EXISTS (SELECT FROM disconnections d WHERE d.user_id = u.user_id AND d.erased_at IS NULL)
        ORDER BY requested_at
        """
    )
    return [row["user_id"] for row in rows]


async def user_is_deleted(connection: Connection, user_id: UUID) -> bool:
    """Return whether auth has deleted the user and nothing of the user's mailboxes is left."""
    deleted: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM user_deletions WHERE user_id = $1 AND ended_at IS NOT NULL)
            AND NOT EXISTS (SELECT FROM disconnections WHERE user_id = $1 AND ended_at IS NULL)
        """,
        user_id,
    )
    return deleted


async def end_user(connection: Connection, user_id: UUID) -> None:
    """Record that auth has deleted the user."""
    await connection.execute(
        "UPDATE user_deletions SET ended_at = coalesce(ended_at, now()) WHERE user_id = $1", user_id
    )


async def forget_ended(connection: Connection, *, older_than: timedelta, limit: int) -> int:
    """Delete the records of disconnections and of users' deletions that ended so long ago, up to `limit` of each.

    Return how many were deleted. Those that go on stay.
    """
    forgotten = 0
    for table in ("disconnections", "user_deletions"):
        done = await connection.execute(
            f"""
            DELETE FROM {table} WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM {table} WHERE ended_at < now() - $1::interval LIMIT $2))
            """,
            older_than,
            limit,
        )
        forgotten += int(done.removeprefix("DELETE "))
    return forgotten
