"""The change feed of a mailbox: changes of its messages and labels, and events, numbered without gaps in commit order.

A Postgres sequence has no such order: a transaction that took a number earlier may commit later, and a reader that asks
for numbers above the last one would miss it. So a writer locks the mailbox's counter until its commit.

A database that lost commits (a failover to a lagging standby, a restored backup) would assign numbers again that
readers have seen. So numbers belong to an incarnation of the feed. A database that did not write the last change begins
a new incarnation with a random name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import asyncpg

from services.mail.model import FeedEvent, Label, Role
from services.mail.read_model import MessageSummary
from services.mail.store.connection import Connection
from services.mail.store.reading.message_rows import SUMMARY, summaries, summary_of

KEPT = timedelta(days=30)

# Cluster, database and timeline of its WAL: a promoted standby, a restored backup and a clone each differ in one of
# them. The current WAL file has the timeline right after a promotion, the control file only later.
_DATABASE_ID = """(
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), oid,
        left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
    FROM pg_database WHERE datname = current_database()
)"""

# Of the mailbox $1. Reads no more than the oldest one where that is not old enough, however many there are.
_EXPIRED = f"""
    mailbox_id = $1 AND changed_at < now() - interval '{KEPT.days} days'
    AND (SELECT changed_at FROM message_changes WHERE mailbox_id = $1 ORDER BY seq LIMIT 1)
        < now() - interval '{KEPT.days} days'
    AND seq = ANY(ARRAY(SELECT seq FROM message_changes WHERE mailbox_id = $1 ORDER BY seq LIMIT {{limit}}))
"""


def _number(*, messages: str = "0", unread: str = "0") -> str:
    """Return the parts of a statement that number its changes; the arguments are by how much the counts change."""
    return f"""
    this_database AS (
        SELECT {_DATABASE_ID} AS id WHERE EXISTS (SELECT FROM changed)
    ), ended AS (
        INSERT INTO feed_incarnations (mailbox_id, incarnation, last_seq)
        SELECT mailbox_id, incarnation, last_seq FROM change_feeds, this_database
        WHERE mailbox_id = $1 AND database_id <> this_database.id
        ON CONFLICT DO NOTHING
    ), feed AS (
        INSERT INTO change_feeds AS f
            (mailbox_id, last_seq, incarnation, database_id, live_from, message_count, unread_count, counted_seq)
        SELECT $1, c.number, floor(random() * 2 ^ 53)::bigint, id, NULL, c.messages, c.unread, c.number
        FROM this_database, (SELECT count(*) AS number, {messages} AS messages, {unread} AS unread FROM changed) c
        ON CONFLICT (mailbox_id) DO UPDATE SET last_seq = f.last_seq + excluded.last_seq,
            incarnation = CASE WHEN f.database_id = excluded.database_id THEN f.incarnation
                          ELSE excluded.incarnation END,
            database_id = excluded.database_id,
            message_count = f.message_count + excluded.message_count,
            unread_count = f.unread_count + excluded.unread_count,
            counted_seq = CASE WHEN f.counted_seq = f.last_seq THEN f.last_seq + excluded.last_seq
                          ELSE f.counted_seq END
        RETURNING f.last_seq
    )
"""


_NUMBER = _number()
_RECORDED = f""", recorded AS (
        INSERT INTO message_changes (mailbox_id, seq, message_id, label_id, kind)
        SELECT $1, feed.last_seq + 1 - row_number() OVER (ORDER BY changed.message_id DESC, changed.label_id DESC),
            coalesce(message_id, 0), label_id, kind
        FROM changed, feed
    ), forgotten AS (
        DELETE FROM message_changes WHERE {_EXPIRED.format(limit=500)}
    )
"""

RECORD = _NUMBER + _RECORDED
"""Part of a statement that writes messages or labels of the mailbox $1.

Numbers the rows of the statement's part `changed (message_id, label_id, kind)` and deletes some expired changes. As a
part of the writing statement it needs no round trip of its own.
"""

RECORD_COUNTED = _number(messages="coalesce(sum(messages), 0)", unread="coalesce(sum(unread), 0)") + _RECORDED
"""The same for statements that change how many messages there are, or are unread.

Their rows of `changed` also have `messages` and `unread`: by how much these counts of the mailbox change.
"""


# Of the mailbox $1 after the change $2.
_FIRST_KEPT = """
    SELECT seq FROM message_changes WHERE mailbox_id = $1 AND seq > $2 AND changed_at > now() - $3::interval
    ORDER BY seq LIMIT 1
"""

# The webhooks' statements name no control table.
_SUMMARY_OF_ACCOUNT = SUMMARY.replace("b.account_id", "$2::uuid AS account_id")

# A page of changes with their labels. Its rows are chosen before they are joined: where statistics do not know the
# mailbox, the planner would join all changes first.
_PAGE = """
    SELECT c.seq, c.message_id, c.kind, c.label_id, c.event, c.details, c.changed_at, l.name AS label_name,
        l.type AS label_type, l.role AS label_role
    FROM (SELECT * FROM message_changes WHERE {chosen} ORDER BY seq LIMIT {limit}) c
    LEFT JOIN labels l ON l.mailbox_id = $1 AND l.label_id = c.label_id AND l.removed_at IS NULL
    ORDER BY c.seq
"""


class ChangeKind(Enum):
    """The kind of a change to a message or to a label."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    # Also for created labels.
    LABEL_UPDATED = "label_updated"
    LABEL_DELETED = "label_deleted"
    # Of the mailbox or of a sync: see FeedEvent. Webhooks tell of it, and lists of changes leave it out.
    EVENT = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A position in a mailbox's feed: after change number `seq` of an incarnation."""

    incarnation: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a message or of a label, or an event, which has neither.

    `message` and `label` have their current state; None if they no longer exist.
    """

    seq: int
    kind: ChangeKind
    message_id: int | None = None
    message: MessageSummary | None = None
    label_id: str | None = None
    label: Label | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Change):
    """A change as webhooks tell of it, with its time; `details` are those of an event."""

    changed_at: datetime
    event: FeedEvent | None = None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The latest position of a feed, and the number after which webhooks begin; None while the first sync goes on.

    `first_kept` is the number of the first kept change after a given one.
    """

    latest: Position
    live_from: int | None
    first_kept: int | None = None


async def position(connection: Connection, mailbox_id: int) -> Position:
    """Return the latest position; number 0 for a feed without changes."""
    row = await connection.fetchrow("SELECT incarnation, last_seq FROM change_feeds WHERE mailbox_id = $1", mailbox_id)
    if row is None:
        return Position(incarnation=0, seq=0)
    return Position(incarnation=row["incarnation"], seq=row["last_seq"])


async def record_event(
    connection: Connection, mailbox_id: int, event: FeedEvent, details: Mapping[str, object] | None = None
) -> None:
    """Record something that happened to the mailbox itself, or to a sync of it.

    Releases without events read it as the update of a message that no longer exists, which they show to no one.
    """
    await connection.execute(
        f"""
        WITH changed AS (
            SELECT 1
        ), {_NUMBER}
        INSERT INTO message_changes (mailbox_id, seq, message_id, kind, event, details)
        SELECT $1, last_seq, 0, 'updated', $2, $3::jsonb FROM feed
        """,
        mailbox_id,
        event.value,
        json.dumps(details or {}),
    )


async def go_live(connection: Connection, mailbox_id: int) -> None:
    """Let webhooks begin after the latest change, unless they have begun before: the first sync has ended."""
    await connection.execute(
        "UPDATE change_feeds SET live_from = last_seq WHERE mailbox_id = $1 AND live_from IS NULL", mailbox_id
    )


async def is_in_feed(connection: Connection, mailbox_id: int, seen: Position, *, latest: Position) -> bool:
    """Return whether this database still has every change up to the position `seen`."""
    if seen.seq == 0 or seen.incarnation == latest.incarnation:
        return seen.seq <= latest.seq
    last_seq: int | None = await connection.fetchval(
        "SELECT last_seq FROM feed_incarnations WHERE mailbox_id = $1 AND incarnation = $2",
        mailbox_id,
        seen.incarnation,
    )
    return last_seq is not None and seen.seq <= last_seq


async def feed(connection: Connection, mailbox_id: int, *, after: int) -> Feed | None:
    """Return where the feed of a mailbox stands, and its first kept change after a number; None without changes."""
    row = await connection.fetchrow(
        f"""
        SELECT incarnation, last_seq, live_from, ({_FIRST_KEPT}) AS first_kept
        FROM change_feeds WHERE mailbox_id = $1
        """,
        mailbox_id,
        after,
        KEPT,
    )
    if row is None:
        return None
    latest = Position(incarnation=row["incarnation"], seq=row["last_seq"])
    return Feed(latest=latest, live_from=row["live_from"], first_kept=row["first_kept"])


async def first_kept(connection: Connection, mailbox_id: int, seq: int) -> int | None:
    """Return the number of the first kept change after `seq`."""
    found: int | None = await connection.fetchval(_FIRST_KEPT, mailbox_id, seq, KEPT)
    return found


async def last_until(connection: Connection, mailbox_id: int, moment: datetime) -> int | None:
    """Return the number of the last kept change up to a moment."""
    found: int | None = await connection.fetchval(
        "SELECT seq FROM message_changes WHERE mailbox_id = $1 AND changed_at <= $2 ORDER BY seq DESC LIMIT 1",
        mailbox_id,
        moment,
    )
    return found


async def to_tell(
    connection: Connection,
    mailbox_id: int,
    *,
    account_id: UUID,
    after: int,
    until: int,
    live_from: int,
    limit: int,
    label_names: Mapping[str, str],
) -> list[Told]:
    """Return up to `limit` changes with their numbers from `after` (exclusive) to `until`.

    Up to `live_from` only events.
    """
    rows = await connection.fetch(
        _PAGE.format(
            chosen="mailbox_id = $1 AND seq > $2 AND seq <= $3 AND (seq > $4 OR event IS NOT NULL)", limit="$5"
        ),
        mailbox_id,
        after,
        until,
        live_from,
        limit,
    )
    changed = await connection.fetch(
        f"SELECT {_SUMMARY_OF_ACCOUNT} FROM messages m WHERE m.mailbox_id = $1 AND m.message_id = ANY($3::bigint[])",
        mailbox_id,
        account_id,
        _changed(rows),
    )
    messages = {row["message_id"]: summary_of(row, label_names) for row in changed}
    return [_told_of(row, messages) for row in rows]


async def positions(connection: Connection, mailbox_ids: Sequence[int]) -> dict[int, int]:
    """Return the latest change number of each mailbox that has changes."""
    rows = await connection.fetch(
        "SELECT mailbox_id, last_seq FROM change_feeds WHERE mailbox_id = ANY($1::bigint[])", mailbox_ids
    )
    return {row["mailbox_id"]: row["last_seq"] for row in rows}


async def forget_expired(connection: Connection, mailbox_id: int, *, limit: int) -> int:
    """Delete up to `limit` expired changes, the oldest first; return how many were deleted."""
    done = await connection.execute(
        f"DELETE FROM message_changes WHERE {_EXPIRED.format(limit='$2')}", mailbox_id, limit
    )
    return int(done.removeprefix("DELETE "))


async def between(
    connection: Connection,
    user_id: UUID,
    mailbox_id: int,
    seq: int,
    last_seq: int,
    *,
    limit: int,
    label_names: Mapping[str, str],
) -> list[Change]:
    """Return up to `limit` changes of the user's mailbox from `seq` (exclusive) to `last_seq`, without expired ones."""
    rows = await connection.fetch(
        _PAGE.format(
            chosen="""
                EXISTS (SELECT FROM mailboxes WHERE mailbox_id = $1 AND user_id = $6)
                AND mailbox_id = $1 AND seq > $2 AND seq <= $3 AND changed_at > now() - $4::interval
            """,
            limit="$5",
        ),
        mailbox_id,
        seq,
        last_seq,
        KEPT,
        limit,
        user_id,
    )
    changed = await summaries(connection, user_id, mailbox_id, _changed(rows), label_names=label_names)
    messages = {message.message_id: message for message in changed}
    return [_change_of(row, messages) for row in rows]


def _changed(rows: Sequence[asyncpg.Record]) -> list[int]:
    """Return the ids of the messages that changes are about."""
    return list({row["message_id"] for row in rows if row["message_id"]})


def _told_of(row: asyncpg.Record, messages: Mapping[int, MessageSummary]) -> Told:
    change = _change_of(row, messages)
    return Told(
        seq=change.seq,
        kind=change.kind,
        message_id=change.message_id,
        message=change.message,
        label_id=change.label_id,
        label=change.label,
        changed_at=row["changed_at"],
        event=None if row["event"] is None else FeedEvent(row["event"]),
        details=json.loads(row["details"] or "{}"),
    )


def _kind_of(row: asyncpg.Record) -> ChangeKind:
    if row["event"] is not None:
        return ChangeKind.EVENT
    return ChangeKind(row["kind"] if row["label_id"] is None else f"label_{row['kind']}")


def _change_of(row: asyncpg.Record, messages: Mapping[int, MessageSummary]) -> Change:
    label_id, name = row["label_id"], row["label_name"]
    return Change(
        seq=row["seq"],
        kind=_kind_of(row),
        message_id=row["message_id"] or None,
        message=messages.get(row["message_id"]),
        label_id=label_id,
        label=None
        if name is None
        else Label(label_id=label_id, name=name, type=row["label_type"], role=Role(row["label_role"])),
    )
