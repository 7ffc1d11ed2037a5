"""Addresses of a mailbox: renames, and what the user may send from."""

from collections.abc import Sequence

from services.mail.model import Lane
from services.mail.search.addresses import LONGEST_ADDRESS
from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import BY_ADDRESS, FORMER
from services.mail.store.control.schedule import CHANNEL, DUE_NOW, HINTED

_MOST_SEND_AS = 100


async def set_address(connection: Connection, mailbox_id: int, email: str) -> None:
    """Record the address that the provider has for the mailbox; an earlier one still finds it.

    The limits go on under the name that they are kept by.
    """
    await connection.execute(
        f"""
        UPDATE mailboxes m SET email = $2, former_emails = {FORMER.format(new="$2")},
            limits_identity = coalesce(m.limits_identity, {BY_ADDRESS.format(row="m")}),
            address_checked_at = now(), address_check_due = false
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        email,
    )


async def expect_rename(connection: Connection, mailbox_id: int) -> None:
    """Have the next turn compare the address with the provider's."""
    await connection.execute("UPDATE mailboxes SET address_check_due = true WHERE mailbox_id = $1", mailbox_id)


async def set_send_as(connection: Connection, mailbox_id: int, addresses: Sequence[str] | None) -> None:
    """Record the addresses that the user may send mail from; the first ones, if there are very many.

    None leaves them as they are. Where none are known, the mailbox's own is the only one.
    """
    known = [address for address in (addresses or ())[:_MOST_SEND_AS] if len(address) <= LONGEST_ADDRESS]
    await connection.execute(
        """
        UPDATE mailboxes SET send_as = CASE WHEN $2::text[] <> '{}' THEN $2 WHEN send_as = '{}' THEN ARRAY[email]
            ELSE send_as END
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        known,
    )


async def suspect_rename(connection: Connection, *, provider: str, email: str, limit: int) -> int:
    """Make mailboxes due for a comparison of their addresses, one of which may have become `email`; return how many.

    These are mailboxes whose changes are announced, with the same domain or the same name, up to `limit`, the longest
    not compared first. None where a mailbox has this address. The schedule is locked first, as everywhere.
    """
    rows = await connection.fetch(
        f"""
        WITH likely AS (
            SELECT m.mailbox_id FROM mailboxes m JOIN watches w USING (mailbox_id)
            WHERE m.provider = $1 AND m.status = 'active' AND m.access_denied_reason = '' AND m.user_id IS NOT NULL
                AND w.expires_at > now() AND NOT m.address_check_due
                AND coalesce(m.address_checked_at < now() - interval '6 hours', true)
                AND (split_part(lower(m.email), '@', 2) = split_part(lower($2), '@', 2)
                    OR split_part(lower(m.email), '@', 1) = split_part(lower($2), '@', 1))
                AND NOT EXISTS (
                    SELECT FROM mailboxes o WHERE o.provider = $1
                        AND (lower(o.email) = lower($2) OR o.former_emails @> ARRAY[lower($2)])
                )
            ORDER BY split_part(lower(m.email), '@', 1) = split_part(lower($2), '@', 1) DESC,
                m.address_checked_at NULLS FIRST
            LIMIT $3
        ), woken AS (
            SELECT s.mailbox_id FROM mailbox_schedule s JOIN likely USING (mailbox_id)
            ORDER BY s.mailbox_id FOR UPDATE OF s
        )
        UPDATE mailbox_schedule s SET due_at = {DUE_NOW}, lane = $4, {HINTED}, look_at = NULL
        FROM woken WHERE s.mailbox_id = woken.mailbox_id
        RETURNING s.mailbox_id
        """,
        provider,
        email,
        limit,
        Lane.LIVE,
    )
    suspects = [row["mailbox_id"] for row in rows]
    if suspects:
        await connection.execute(
            "UPDATE mailboxes SET address_check_due = true WHERE mailbox_id = ANY($1::bigint[])", suspects
        )
        await connection.execute(f"NOTIFY {CHANNEL}")
    return len(suspects)
