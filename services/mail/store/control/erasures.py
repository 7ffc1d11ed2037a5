"""Mailboxes on their way out: hidden, then erased in batches; what stays is a row that says so."""

from dataclasses import dataclass
from uuid import UUID

from services.mail.model import Lane, Mailbox, MailboxStatus
from services.mail.store.connection import Connection
from services.mail.store.control.schedule import CHANNEL

# What a mailbox can have very much of. Everything else goes with the mailbox itself.
_LARGE = ("message_changes", "fetch_queue", "listed_ids", "dead_letters", "syncs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """A mailbox that is being erased."""

    mailbox: Mailbox
    # Whether auth has revoked the grant and deleted the tokens.
    revoked: bool


async def hide(connection: Connection, user_id: UUID, mailbox_id: int) -> bool:
    """Takes a mailbox from its user and from its worker, and makes it due for erasing; false if it is not the user's.

    With no owner it does not exist for any reader. The epoch moves, so whatever a worker writes from now on is refused.
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
            RETURNING mailbox_id, account_id, provider
        )
        INSERT INTO disconnections (mailbox_id, account_id, user_id, provider)
        SELECT mailbox_id, account_id, $2, provider FROM hidden RETURNING true
        """,
        mailbox_id,
        user_id,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")
    return bool(hidden)


async def is_erased(connection: Connection, user_id: UUID, account_id: UUID) -> bool | None:
    """Whether the erasing of a disconnected account has ended; None if it was not disconnected."""
    erased: bool | None = await connection.fetchval(
        "SELECT ended_at IS NOT NULL FROM disconnections WHERE user_id = $1 AND account_id = $2", user_id, account_id
    )
    return erased


async def pending(connection: Connection, mailbox_id: int) -> Erasure | None:
    """What is known of a hidden mailbox."""
    row = await connection.fetchrow(
        """
        SELECT d.mailbox_id, d.account_id, d.user_id, d.provider, m.email, d.revoked_at IS NOT NULL AS revoked
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
    )
    return Erasure(mailbox=mailbox, revoked=row["revoked"])


async def set_revoked(connection: Connection, mailbox_id: int) -> None:
    """Records that auth has ended the account."""
    await connection.execute("UPDATE disconnections SET revoked_at = now() WHERE mailbox_id = $1", mailbox_id)


async def erase_some(connection: Connection, mailbox_id: int, limit: int) -> bool:
    """Erases up to so many rows; false if none was left."""
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
    """Records that nothing of the mailbox is stored any more."""
    await connection.execute(
        "UPDATE disconnections SET erased_at = coalesce(erased_at, now()) WHERE mailbox_id = $1", mailbox_id
    )


async def end(connection: Connection, mailbox_id: int) -> int:
    """Deletes the mailbox itself, its schedule with it; returns how many messages it had."""
    await connection.execute("DELETE FROM mailboxes WHERE mailbox_id = $1", mailbox_id)
    messages: int = await connection.fetchval(
        "UPDATE disconnections SET ended_at = now() WHERE mailbox_id = $1 RETURNING message_count", mailbox_id
    )
    return messages


async def lock_user(connection: Connection, user_id: UUID) -> None:
    """Lets the end of a user's mailbox and a request to delete the user not pass each other unseen."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", str(user_id))


async def request_user(connection: Connection, user_id: UUID) -> None:
    """Records that auth is to delete the user once nothing of them is stored."""
    await connection.execute("INSERT INTO user_deletions (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user_id)


async def user_is_due(connection: Connection, user_id: UUID) -> bool:
    """Whether auth has to delete the user now: it was asked for, and nothing of them is stored any more."""
    due: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM user_deletions WHERE user_id = $1 AND ended_at IS NULL)
            AND NOT EXISTS (SELECT FROM disconnections WHERE user_id = $1 AND erased_at IS NULL)
            AND NOT EXISTS (SELECT FROM mailboxes WHERE user_id = $1)
        """,
        user_id,
    )
    return due


async def users_left_over(connection: Connection) -> list[UUID]:
    """Users who are to be deleted, and whom no mailbox on its way out takes along, the first ones first."""
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
    """Whether the deletion of a user has ended."""
    deleted: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM user_deletions WHERE user_id = $1 AND ended_at IS NOT NULL)", user_id
    )
    return deleted


async def end_user(connection: Connection, user_id: UUID) -> None:
    """Records that auth has deleted the user."""
    await connection.execute(
        "UPDATE user_deletions SET ended_at = coalesce(ended_at, now()) WHERE user_id = $1", user_id
    )
