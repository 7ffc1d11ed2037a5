"""Mail's copy of the accounts that auth lists."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from services.mail.model import (
    Account,
    Lane,
    Mailbox,
    MailboxStatus,
    OpenMailbox,
    Reach,
    Role,
)
from services.mail.store.connection import Connection
from services.mail.store.control.schedule import CHANNEL, HINTED

# So many earlier addresses are kept.
_MOST_FORMER = 10
# The earlier addresses of `m` when its address becomes {new}.
FORMER = f"""
    CASE WHEN lower(m.email) = lower({{new}}) THEN m.former_emails
    ELSE (array_remove(array_remove(m.former_emails, lower({{new}})), lower(m.email)) || lower(m.email))
        [greatest(1, cardinality(m.former_emails) - {_MOST_FORMER - 2}):] END"""

COLUMNS = """
    m.mailbox_id, m.account_id, m.user_id, m.provider, m.email, m.status, m.access_denied_reason, m.denials,
    m.limits_identity"""
# Whether two rows are of one account at the provider. Where auth has told none, they are known by their address.
SAME_ACCOUNT = """
    (({one}.provider_identity = {other}.provider_identity OR lower({one}.email) = lower({other}.email))
        AND {one}.provider = {other}.provider
        AND coalesce({one}.provider_identity = {other}.provider_identity, true))"""
# `Mailbox.identity` of a row that has none stored.
BY_ADDRESS = "encode(sha256(convert_to({row}.provider || ' ' || lower({row}.email), 'UTF8')), 'hex')"
# That of an account's mailbox: of a new one, the identity of another mailbox of the same account, whose calls count
# together. An address that another account of the provider has, or had, is no name for this one. (count: with EXISTS
# the planner expects to meet such an address soon, and reads all mailboxes.)
_LIMITS_IDENTITY = f"""
    coalesce(
        (SELECT o.limits_identity FROM mailboxes o WHERE o.account_id = a.account_id),
        (SELECT min(coalesce(o.limits_identity, {BY_ADDRESS.format(row="o")}))
         FROM mailboxes o WHERE {SAME_ACCOUNT.format(one="o", other="a")} AND o.account_id <> a.account_id),
        (SELECT CASE WHEN count(*) > 0 THEN a.provider_identity END FROM mailboxes o
         WHERE o.provider = a.provider AND o.provider_identity <> a.provider_identity
             AND (lower(o.email) = lower(a.email) OR o.former_emails @> ARRAY[lower(a.email)])),
        {BY_ADDRESS.format(row="a")})"""
# A mailbox with its labels: lists need them, and another query costs 0.2 ms of CPU, a tenth of a list.
_OPEN = f"""
    SELECT {COLUMNS}, l.names, l.roles, m.former_emails, m.send_as
    FROM mailboxes m CROSS JOIN LATERAL (
        SELECT json_object_agg(label_id, name) AS names,
            json_object_agg(label_id, role) FILTER (WHERE role <> 'none') AS roles
        FROM labels WHERE mailbox_id = m.mailbox_id
    ) l
"""
# Whether an API key reaches `m`.
REACHED = "m.application_id = $1 AND ($2::uuid[] IS NULL OR m.account_id = ANY($2))"
_REACHED_OPEN = f"{_OPEN} WHERE m.user_id IS NOT NULL AND {REACHED}"


def mailbox_of(row: asyncpg.Record) -> Mailbox:
    """Return the mailbox of a row with this module's columns."""
    return Mailbox(
        mailbox_id=row["mailbox_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        provider=row["provider"],
        email=row["email"],
        status=MailboxStatus(row["status"]),
        access_denied_reason=row["access_denied_reason"],
        denials=row["denials"],
        limits_identity=row["limits_identity"] or "",
    )


async def revive(connection: Connection, accounts: Sequence[Account], *, signed_in: bool) -> None:
    """Make the mailboxes of reactivated accounts due; after a sign-in those that are worked on, too.

    Their turns can have begun with the grant that the sign-in has replaced.

    Call it before `upsert` in the same transaction: like a worker, it locks the schedule first and the mailbox second.
    """
    await connection.execute(
        f"""
        UPDATE mailbox_schedule s SET due_at = least(s.due_at, now()), {HINTED}, lane = $2
        FROM mailboxes m
        WHERE s.mailbox_id = m.mailbox_id AND m.account_id = ANY($1::uuid[]) AND m.user_id IS NOT NULL
            AND (m.status = 'reauth_required' OR m.access_denied_reason <> '' OR $3 AND s.lease_owner IS NOT NULL)
        """,
        [
            account.account_id
            for account in accounts
            if account.status is MailboxStatus.ACTIVE and not account.access_denied_reason
        ],
        Lane.LIVE,
        signed_in,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessChange:
    """A mailbox that is new, or whose access has changed, as it is now."""

    mailbox: Mailbox
    is_new: bool


async def upsert(connection: Connection, accounts: Sequence[Account]) -> list[AccessChange]:
    """Create or update the mailboxes of accounts, in their order. Disconnected mailboxes stay disconnected.

    Auth's answer may be older than the disconnection. Denials are counted anew where access is back. Return those whose
    access is another one now.
    """
    rows = await connection.fetch(
        f"""
        WITH before AS (
            SELECT mailbox_id, status, access_denied_reason FROM mailboxes WHERE account_id = ANY($1::uuid[])
        ), written AS (
            INSERT INTO mailboxes AS m
                (account_id, user_id, provider, email, status, reconnect_by, access_denied_reason, application_id,
                 provider_identity, limits_identity)
            SELECT account_id, user_id, provider, email, status, reconnect_by, access_denied_reason, application_id,
                provider_identity, {_LIMITS_IDENTITY}
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
                $8::uuid[], $9::text[])
                WITH ORDINALITY AS a(
                    account_id, user_id, provider, email, status, reconnect_by, access_denied_reason, application_id,
                    provider_identity, place)
            WHERE NOT EXISTS (SELECT FROM disconnections d WHERE d.account_id = a.account_id)
                AND NOT EXISTS (SELECT FROM user_deletions u WHERE u.user_id = a.user_id)
            ORDER BY a.place
            ON CONFLICT (account_id) DO UPDATE
                SET email = excluded.email, former_emails = {FORMER.format(new="excluded.email")},
                    status = excluded.status, reconnect_by = excluded.reconnect_by,
                    provider_identity = coalesce(excluded.provider_identity, m.provider_identity),
                    limits_identity = coalesce(m.limits_identity, {BY_ADDRESS.format(row="m")}),
                    access_denied_reason = excluded.access_denied_reason,
                    denials = CASE WHEN m.access_denied_reason <> '' AND excluded.access_denied_reason = '' THEN 0
                              ELSE m.denials END,
                    denied_since = CASE WHEN m.access_denied_reason <> '' AND excluded.access_denied_reason = ''
                                   THEN NULL ELSE m.denied_since END
            WHERE (m.email, m.status, m.reconnect_by, m.access_denied_reason, m.provider_identity)
                IS DISTINCT FROM (excluded.email, excluded.status, excluded.reconnect_by, excluded.access_denied_reason,
                    coalesce(excluded.provider_identity, m.provider_identity))
            RETURNING {COLUMNS}
        )
        SELECT {COLUMNS}, b.mailbox_id IS NULL AS is_new FROM written m LEFT JOIN before b USING (mailbox_id)
        WHERE (m.status, m.access_denied_reason) IS DISTINCT FROM (b.status, b.access_denied_reason)
            AND m.user_id IS NOT NULL
        ORDER BY m.mailbox_id
        """,
        [account.account_id for account in accounts],
        [account.user_id for account in accounts],
        [account.provider for account in accounts],
        [account.email for account in accounts],
        [account.status.value for account in accounts],
        [account.reconnect_by for account in accounts],
        [account.access_denied_reason for account in accounts],
        [account.application_id for account in accounts],
        [account.provider_identity for account in accounts],
    )
    return [AccessChange(mailbox=mailbox_of(row), is_new=row["is_new"]) for row in rows]


async def of_user(connection: Connection, user_id: UUID) -> list[OpenMailbox]:
    """Return the user's mailboxes, oldest first."""
    return _open(await connection.fetch(f"{_OPEN} WHERE m.user_id = $1 ORDER BY m.mailbox_id", user_id))


async def account_within(connection: Connection, reach: Reach, account_id: UUID) -> list[OpenMailbox]:
    """Return the mailbox of this account if a key reaches it."""
    return _open(await connection.fetch(f"{_REACHED_OPEN} AND m.account_id = $3", *reached(reach), account_id))


async def address_within(connection: Connection, reach: Reach, email: str) -> list[OpenMailbox]:
    """Return the mailboxes with this address, now or once, that a key reaches, oldest first."""
    rows = await connection.fetch(
        f"""
        {_REACHED_OPEN} AND (lower(m.email) = lower($3) OR m.former_emails @> ARRAY[lower($3)])
        ORDER BY m.mailbox_id
        """,
        *reached(reach),
        email,
    )
    return _open(rows)


async def owner(connection: Connection, mailbox_id: int, reach: Reach) -> UUID | None:
    """Return the user of a mailbox within reach."""
    found: UUID | None = await connection.fetchval(
        f"SELECT m.user_id FROM mailboxes m WHERE m.mailbox_id = $3 AND {REACHED}", *reached(reach), mailbox_id
    )
    return found


async def owner_of_account(connection: Connection, account_id: UUID, reach: Reach) -> UUID | None:
    """Return the user of an account within reach, also after the disconnection of the mailbox."""
    found: UUID | None = await connection.fetchval(
        f"""
        SELECT m.user_id FROM mailboxes m WHERE m.account_id = $3 AND m.user_id IS NOT NULL AND {REACHED}
        UNION ALL
        SELECT m.user_id FROM disconnections m WHERE m.account_id = $3 AND {REACHED}
        """,
        *reached(reach),
        account_id,
    )
    return found


def reached(reach: Reach) -> tuple[UUID, list[UUID] | None]:
    """Return the values of REACHED."""
    return reach.application_id, None if reach.account_ids is None else list(reach.account_ids)


def _open(rows: Sequence[asyncpg.Record]) -> list[OpenMailbox]:
    return [
        OpenMailbox(
            mailbox_id=row["mailbox_id"],
            account_id=row["account_id"],
            user_id=row["user_id"],
            provider=row["provider"],
            email=row["email"],
            status=MailboxStatus(row["status"]),
            access_denied_reason=row["access_denied_reason"],
            denials=row["denials"],
            limits_identity=row["limits_identity"] or "",
            label_names=json.loads(row["names"] or "{}"),
            label_roles={id_: Role(role) for id_, role in json.loads(row["roles"] or "{}").items()},
            former_emails=tuple(row["former_emails"]),
            send_as=tuple(row["send_as"]),
        )
        for row in rows
    ]


async def users_of_application(connection: Connection, application_id: UUID, *, limit: int) -> list[UUID]:
    """Return users of an application who have mailboxes."""
    rows = await connection.fetch(
        "SELECT DISTINCT user_id FROM mailboxes WHERE application_id = $1 AND user_id IS NOT NULL LIMIT $2",
        application_id,
        limit,
    )
    return [row["user_id"] for row in rows]


async def ids_after(connection: Connection, mailbox_id: int, *, limit: int) -> list[int]:
    """Return the ids of the next mailboxes, in order."""
    rows = await connection.fetch(
        "SELECT mailbox_id FROM mailboxes WHERE mailbox_id > $1 ORDER BY mailbox_id LIMIT $2", mailbox_id, limit
    )
    return [row["mailbox_id"] for row in rows]


async def by_id(connection: Connection, mailbox_id: int) -> Mailbox | None:
    """Return a mailbox of any user, for the worker; None if it is disconnected."""
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS}, m.address_check_due OR coalesce(m.address_checked_at < now() - interval '1 day', true) AS due,
            m.send_as = '{{}}' AS knows_no_send_as
        FROM mailboxes m WHERE m.mailbox_id = $1 AND m.user_id IS NOT NULL
        """,
        mailbox_id,
    )
    return (
        None
        if row is None
        else replace(mailbox_of(row), address_is_due=row["due"], send_as_is_due=row["due"] or row["knows_no_send_as"])
    )
