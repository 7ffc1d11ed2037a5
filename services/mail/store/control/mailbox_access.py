"""Whether the provider grants access to a mailbox."""

from dataclasses import dataclass

from services.mail.model import Mailbox, MailboxStatus
from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import COLUMNS, mailbox_of


async def set_status(connection: Connection, mailbox_id: int, status: MailboxStatus) -> bool:
    """Record whether the provider still grants access; return whether that is another state than before."""
    done = await connection.execute(
        "UPDATE mailboxes SET status = $2 WHERE mailbox_id = $1 AND status <> $2", mailbox_id, status.value
    )
    return done == "UPDATE 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedDenial:
    """A mailbox with the turns in a row that have met a denial, and the seconds since the first of them."""

    mailbox: Mailbox
    denials: int
    seconds: float


async def count_denial(connection: Connection, mailbox_id: int) -> CountedDenial:
    """Count one more turn that met a denial."""
    row = await connection.fetchrow(
        f"""
        UPDATE mailboxes m SET denials = denials + 1, denied_since = coalesce(denied_since, now())
        WHERE mailbox_id = $1
        RETURNING {COLUMNS}, extract(epoch FROM now() - denied_since)::float8 AS seconds
        """,
        mailbox_id,
    )
    assert row is not None, "a lease is a mailbox's"  # noqa: S101 - the schedule's rows go with those of mailboxes
    return CountedDenial(mailbox=mailbox_of(row), denials=row["denials"], seconds=row["seconds"])


async def set_access_denied(connection: Connection, mailbox_id: int, reason: str) -> bool:
    """Record that the provider denies access lastingly, and why; return whether that is another state than before."""
    done = await connection.execute(
        "UPDATE mailboxes SET access_denied_reason = $2 WHERE mailbox_id = $1 AND access_denied_reason <> $2",
        mailbox_id,
        reason,
    )
    return done == "UPDATE 1"


async def set_granted(connection: Connection, mailbox_id: int) -> bool:
    """Record that the provider grants access; return whether it did not before."""
    returned: bool = await connection.fetchval(
        """
        WITH before AS (
            SELECT status <> 'active' OR access_denied_reason <> '' AS was_away FROM mailboxes WHERE mailbox_id = $1
        )
        UPDATE mailboxes SET status = 'active', access_denied_reason = '', denials = 0, denied_since = NULL
        FROM before WHERE mailbox_id = $1 RETURNING was_away
        """,
        mailbox_id,
    )
    return bool(returned)
