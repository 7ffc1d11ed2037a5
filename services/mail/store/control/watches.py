"""Watches: until when the provider announces a mailbox's changes, and when to renew that."""

from datetime import datetime

from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import SAME_ACCOUNT


async def is_due(connection: Connection, mailbox_id: int) -> bool:
    """Return whether the mailbox's watch must be made or renewed."""
    due: bool = await connection.fetchval(
        "SELECT NOT EXISTS (SELECT FROM watches WHERE mailbox_id = $1 AND renew_at > now())", mailbox_id
    )
    return due


async def keep(connection: Connection, mailbox_id: int, *, expires_at: datetime, renew_seconds: float) -> None:
    """Record a watch that was made or renewed."""
    await connection.execute(
        """
        INSERT INTO watches (mailbox_id, expires_at, renew_at) VALUES ($1, $2, now() + make_interval(secs => $3))
        ON CONFLICT (mailbox_id) DO UPDATE SET expires_at = excluded.expires_at, renew_at = excluded.renew_at
        """,
        mailbox_id,
        expires_at,
        renew_seconds,
    )


async def postpone(connection: Connection, mailbox_id: int, *, seconds: float) -> None:
    """Record a failed renewal; the next attempt is in `seconds`."""
    await connection.execute(
        """
        INSERT INTO watches (mailbox_id, renew_at) VALUES ($1, now() + make_interval(secs => $2))
        ON CONFLICT (mailbox_id) DO UPDATE SET renew_at = excluded.renew_at
        """,
        mailbox_id,
        seconds,
    )


async def end(connection: Connection, mailbox_id: int) -> None:
    """Record that the provider announces nothing any more: a watch ends with the access to its mailbox."""
    await connection.execute(
        "UPDATE watches SET expires_at = least(expires_at, now()), renew_at = now() WHERE mailbox_id = $1", mailbox_id
    )


# The connected mailboxes `o` of other applications on the account of the mailbox `m` at the provider.
_OTHERS = f"""
    mailboxes m JOIN mailboxes o ON o.mailbox_id <> m.mailbox_id AND o.user_id IS NOT NULL
        AND {SAME_ACCOUNT.format(one="o", other="m")}
"""


async def is_shared(connection: Connection, mailbox_id: int) -> bool:
    """Return whether another connected mailbox stands on the same account of the provider, and on its watch."""
    shared: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {_OTHERS} WHERE m.mailbox_id = $1)", mailbox_id
    )
    return shared


async def remake_others(connection: Connection, mailbox_id: int) -> None:
    """Have the other mailboxes on the account make their watch anew."""
    await connection.execute(
        f"""
        UPDATE watches SET renew_at = now()
        WHERE mailbox_id = ANY(ARRAY(SELECT o.mailbox_id FROM {_OTHERS} WHERE m.mailbox_id = $1))
        """,
        mailbox_id,
    )


async def expiring(connection: Connection, *, within_seconds: float) -> int:
    """Return how many active mailboxes have a watch that ends within `within_seconds` or has ended."""
    found: int = await connection.fetchval(
        """
        SELECT count(*) FROM watches w JOIN mailboxes m USING (mailbox_id)
        WHERE m.status = 'active' AND m.access_denied_reason = '' AND w.expires_at < now() + make_interval(secs => $1)
        """,
        within_seconds,
    )
    return found
