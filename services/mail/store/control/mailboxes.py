"""Mail's copy of the accounts that auth lists."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from services.mail.model import (
    Account,
    Lane,
    Mailbox,
    MailboxCounts,
    MailboxOverview,
    MailboxQuery,
    MailboxStatus,
    OpenMailbox,
    Reach,
    Role,
)
from services.mail.providers.label_ids import UNSEEN
from services.mail.search.addresses import LONGEST_ADDRESS
from services.mail.store.connection import Connection
from services.mail.store.control.idle_groups import GROUP_SIZE
from services.mail.store.control.schedule import CHANNEL, DUE_NOW, HINTED

# So many earlier addresses are kept.
_MOST_FORMER = 10
_MOST_SEND_AS = 100
# The earlier addresses of `m` when its address becomes {new}.
_FORMER = f"""
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
_BY_ADDRESS = "encode(sha256(convert_to({row}.provider || ' ' || lower({row}.email), 'UTF8')), 'hex')"
# That of an account's mailbox: of a new one, the identity of another mailbox of the same account, whose calls count
# together. An address that another account of the provider has, or had, is no name for this one. (count: with EXISTS
# the planner expects to meet such an address soon, and reads all mailboxes.)
_LIMITS_IDENTITY = f"""
    coalesce(
        (SELECT o.limits_identity FROM mailboxes o WHERE o.account_id = a.account_id),
        (SELECT min(coalesce(o.limits_identity, {_BY_ADDRESS.format(row="o")}))
         FROM mailboxes o WHERE {SAME_ACCOUNT.format(one="o", other="a")} AND o.account_id <> a.account_id),
        (SELECT CASE WHEN count(*) > 0 THEN a.provider_identity END FROM mailboxes o
         WHERE o.provider = a.provider AND o.provider_identity <> a.provider_identity
             AND (lower(o.email) = lower(a.email) OR o.former_emails @> ARRAY[lower(a.email)])),
        {_BY_ADDRESS.format(row="a")})"""
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
_REACHED = "m.application_id = $1 AND ($2::uuid[] IS NULL OR m.account_id = ANY($2))"
_REACHED_OPEN = f"{_OPEN} WHERE m.user_id IS NOT NULL AND {_REACHED}"


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
                SET email = excluded.email, former_emails = {_FORMER.format(new="excluded.email")},
                    status = excluded.status, reconnect_by = excluded.reconnect_by,
                    provider_identity = coalesce(excluded.provider_identity, m.provider_identity),
                    limits_identity = coalesce(m.limits_identity, {_BY_ADDRESS.format(row="m")}),
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
    return _open(await connection.fetch(f"{_REACHED_OPEN} AND m.account_id = $3", *_reach(reach), account_id))


async def address_within(connection: Connection, reach: Reach, email: str) -> list[OpenMailbox]:
    """Return the mailboxes with this address, now or once, that a key reaches, oldest first."""
    rows = await connection.fetch(
        f"""
        {_REACHED_OPEN} AND (lower(m.email) = lower($3) OR m.former_emails @> ARRAY[lower($3)])
        ORDER BY m.mailbox_id
        """,
        *_reach(reach),
        email,
    )
    return _open(rows)


async def owner(connection: Connection, mailbox_id: int, reach: Reach) -> UUID | None:
    """Return the user of a mailbox within reach."""
    found: UUID | None = await connection.fetchval(
        f"SELECT m.user_id FROM mailboxes m WHERE m.mailbox_id = $3 AND {_REACHED}", *_reach(reach), mailbox_id
    )
    return found


async def owner_of_account(connection: Connection, account_id: UUID, reach: Reach) -> UUID | None:
    """Return the user of an account within reach, also after the disconnection of the mailbox."""
    found: UUID | None = await connection.fetchval(
        f"""
        SELECT m.user_id FROM mailboxes m WHERE m.account_id = $3 AND m.user_id IS NOT NULL AND {_REACHED}
        UNION ALL
        SELECT m.user_id FROM disconnections m WHERE m.account_id = $3 AND {_REACHED}
        """,
        *_reach(reach),
        account_id,
    )
    return found


async def counts(connection: Connection, reach: Reach) -> MailboxCounts:
    """Count the mailboxes within reach by state."""
    row = await connection.fetchrow(
        f"""
        SELECT count(*) FILTER (WHERE m.status = 'reauth_required') AS reauth_required,
            count(*) FILTER (WHERE m.status <> 'reauth_required' AND m.access_denied_reason <> '') AS access_denied,
            count(*) FILTER (WHERE m.status <> 'reauth_required' AND m.access_denied_reason = '') AS active
        FROM mailboxes m WHERE m.user_id IS NOT NULL AND {_REACHED}
        """,
        *_reach(reach),
    )
    assert row is not None, "an aggregate returns a row"  # noqa: S101 - states what the statement guarantees
    return MailboxCounts(**row)


def _reach(reach: Reach) -> tuple[UUID, list[UUID] | None]:
    """Return the values of _REACHED."""
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


async def overviews(connection: Connection, query: MailboxQuery) -> list[MailboxOverview]:
    """Return mailboxes with counts, oldest first. Messages are counted where no writer has kept the counts."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS}, m.reconnect_by, s.last_synced_at, c.messages, c.unread, f.last_seq, c.is_new
        FROM mailboxes m
        LEFT JOIN sync_states s USING (mailbox_id)
        LEFT JOIN change_feeds f USING (mailbox_id)
        CROSS JOIN LATERAL (
            SELECT f.message_count AS messages, f.unread_count AS unread, false AS is_new
            WHERE f.counted_seq = f.last_seq
            UNION ALL
            SELECT count(*), count(*) FILTER (WHERE label_ids && $11), true
            FROM messages WHERE mailbox_id = m.mailbox_id AND (f.counted_seq = f.last_seq) IS NOT TRUE
            HAVING (f.counted_seq = f.last_seq) IS NOT TRUE
        ) c
        WHERE m.user_id IS NOT NULL AND ($1::uuid IS NULL OR m.user_id = $1)
            AND ($2::uuid IS NULL OR m.application_id = $2) AND ($3::uuid[] IS NULL OR m.account_id = ANY($3))
            AND ($4::uuid IS NULL OR m.account_id = $4) AND ($5::text IS NULL OR lower(m.email) = lower($5))
            AND ($6::text IS NULL OR m.provider = $6) AND ($7::text IS NULL OR m.status = $7)
            AND ($8::bool IS NULL OR (m.access_denied_reason <> '') = $8) AND m.mailbox_id > $9
        ORDER BY m.mailbox_id LIMIT $10
        """,
        query.user_id,
        *((None, None) if query.reach is None else _reach(query.reach)),
        query.account_id,
        query.email or None,
        query.provider or None,
        None if query.status is None else query.status.value,
        query.is_denied,
        query.after,
        query.limit,
        UNSEEN,
    )
    if uncounted := [row for row in rows if row["is_new"] and row["last_seq"] is not None]:
        await _keep_counts(connection, uncounted)
    checked = await _checked_at(connection, [row["mailbox_id"] for row in rows])
    return [
        MailboxOverview(
            mailbox=mailbox_of(row),
            last_synced_at=_latest(row["last_synced_at"], checked.get(row["mailbox_id"])),
            message_count=row["messages"],
            unread_count=row["unread"],
            reconnect_by=row["reconnect_by"],
        )
        for row in rows
    ]


async def _keep_counts(connection: Connection, rows: Sequence[asyncpg.Record]) -> None:
    """Store what was counted, so that writers go on from there; where one is writing, the next reader does it."""
    await connection.executemany(
        """
        UPDATE change_feeds SET message_count = $3, unread_count = $4, counted_seq = $2
        WHERE mailbox_id = $1 AND last_seq = $2
            AND EXISTS (SELECT FROM change_feeds WHERE mailbox_id = $1 FOR UPDATE SKIP LOCKED)
        """,
        [[row[name] for name in ("mailbox_id", "last_seq", "messages", "unread")] for row in rows],
    )


async def _checked_at(connection: Connection, mailbox_ids: Sequence[int]) -> dict[int, datetime]:
    """Return when idle ones of these mailboxes were checked at the earliest, by id; a new group's are left out."""
    rows = await connection.fetch(
        """
        SELECT m.mailbox_id, g.all_seen_at
        FROM mailboxes m JOIN mailbox_schedule s USING (mailbox_id) JOIN idle_groups g ON g.group_id = s.mailbox_id / $3
        WHERE m.mailbox_id = ANY($1::bigint[]) AND s.lane = $2 AND g.all_seen_at > '-infinity'
        """,
        mailbox_ids,
        Lane.IDLE,
        GROUP_SIZE,
    )
    return {row["mailbox_id"]: row["all_seen_at"] for row in rows}


def _latest(synced_at: datetime | None, checked_at: datetime | None) -> datetime | None:
    """Return the later of both times; None for a mailbox that was never synced, whose checks mean nothing."""
    return max(synced_at, checked_at) if synced_at and checked_at else synced_at


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


async def set_address(connection: Connection, mailbox_id: int, email: str) -> None:
    """Record the address that the provider has for the mailbox; an earlier one still finds it.

    The limits go on under the name that they are kept by.
    """
    await connection.execute(
        f"""
        UPDATE mailboxes m SET email = $2, former_emails = {_FORMER.format(new="$2")},
            limits_identity = coalesce(m.limits_identity, {_BY_ADDRESS.format(row="m")}),
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
