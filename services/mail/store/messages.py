"""Messages and their contents. Writes are idempotent: of two versions of a message the newer wins."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from services.mail.content.limits import LARGE_BYTES
from services.mail.content.model import Address, Attachment
from services.mail.model import LabelChange, MessageDetail, MessageSummary, ProviderMessage, Recipients
from services.mail.search.vector import vector_of
from services.mail.store.connection import Connection
from services.mail.store.relisted import IdRange

# To be added to a statement that writes messages of the mailbox $1: numbers what its part `changed (message_id, kind)`
# holds, in the feed that store/changes.py reads, and forgets some of what is older than 30 days. Part of the writing
# statement, so that no writer can forget it and none needs another round trip.
_RECORD = """
    feed AS (
        INSERT INTO change_feeds AS f (mailbox_id, last_seq) SELECT $1, count(*) FROM changed HAVING count(*) > 0
        ON CONFLICT (mailbox_id) DO UPDATE SET last_seq = f.last_seq + excluded.last_seq
        RETURNING f.last_seq
    ), recorded AS (
        INSERT INTO message_changes (mailbox_id, seq, message_id, kind)
        SELECT $1, feed.last_seq + 1 - row_number() OVER (ORDER BY changed.message_id DESC), message_id, kind
        FROM changed, feed
    ), forgotten AS (
        -- Looks at no more than the oldest one where that is not old enough, however many there are.
        DELETE FROM message_changes WHERE mailbox_id = $1 AND changed_at < now() - interval '30 days'
            AND (SELECT changed_at FROM message_changes WHERE mailbox_id = $1 ORDER BY seq LIMIT 1)
                < now() - interval '30 days'
            AND seq = ANY(ARRAY(SELECT seq FROM message_changes WHERE mailbox_id = $1 ORDER BY seq LIMIT 500))
    )
"""

_UPSERT = f"""
    WITH given AS (
        SELECT * FROM unnest($2::text[], $3::text[], $4::numeric[], $5::timestamptz[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bool[], $14::bigint[],
            $15::text[], $16::text[], $17::text[], $18::text[], $20::text[], $21::text[])
        AS g(external_id, thread_id, version, received_at, from_name, from_email, to_addresses, cc_addresses,
            subject, snippet, label_ids, has_attachments, size, headers, text, html, attachments, vector,
            recipients)
    ), stored AS (
        INSERT INTO messages AS m (mailbox_id, external_id, thread_id, version, received_at, from_name, from_email,
            to_addresses, cc_addresses, subject, snippet, label_ids, has_attachments, size)
        SELECT $1, external_id, thread_id,
            coalesce(version, (SELECT cursor FROM sync_states WHERE mailbox_id = $1), 0),
            received_at, from_name, from_email, to_addresses::jsonb, cc_addresses::jsonb, subject, snippet,
            string_to_array(label_ids, $19), has_attachments, size
        FROM given
        ON CONFLICT (mailbox_id, external_id) DO UPDATE
        SET thread_id = excluded.thread_id, version = excluded.version, received_at = excluded.received_at,
            from_name = excluded.from_name, from_email = excluded.from_email,
            to_addresses = excluded.to_addresses, cc_addresses = excluded.cc_addresses,
            subject = excluded.subject, snippet = excluded.snippet, label_ids = excluded.label_ids,
            has_attachments = excluded.has_attachments, size = excluded.size
        WHERE m.version <= excluded.version
        -- A row that was there before has a locker: this statement.
        RETURNING m.message_id, m.external_id, CASE WHEN m.xmax = 0 THEN 'created' ELSE 'updated' END AS kind
    ), changed AS (
        SELECT message_id, kind FROM stored
    ), {_RECORD}, contents AS (
        INSERT INTO message_contents AS c (mailbox_id, message_id, headers, recipients, text, html, attachments)
        SELECT $1, stored.message_id, headers::jsonb, recipients::jsonb, text, html, attachments::jsonb
        FROM stored JOIN given USING (external_id)
        ON CONFLICT (mailbox_id, message_id) DO UPDATE
        SET headers = excluded.headers, recipients = excluded.recipients, text = excluded.text, html = excluded.html,
            attachments = excluded.attachments
    ), searchable AS (
        INSERT INTO message_search AS s (mailbox_id, message_id, received_at, vector)
        SELECT $1, stored.message_id, received_at, vector::tsvector FROM stored JOIN given USING (external_id)
        ON CONFLICT (mailbox_id, message_id) DO UPDATE
        SET received_at = excluded.received_at, vector = excluded.vector
        WHERE (s.received_at, s.vector) IS DISTINCT FROM (excluded.received_at, excluded.vector)
    )
    SELECT count(*) FROM stored
"""

LISTED_TEXT, LISTED_RECIPIENTS = 1_000, 4_000
"""Characters in the rows that lists read: of a subject, a snippet, a sender; of all names and addresses in To or Cc.

A header may have a megabyte, and a page 500 messages.
"""

# Characters of text and HTML in one statement, unless a single message has more.
_STATEMENT_BYTES = 1024 * 1024

# A label can be on any number of messages, and a statement has 30 s.
_RELABELLED_AT_ONCE = 10_000

_addresses_from_json = msgspec.json.Decoder(list[Address]).decode
_recipients_from_json = msgspec.json.Decoder(Recipients).decode
_headers_from_json = msgspec.json.Decoder(list[tuple[str, str]]).decode
attachments_from_json = msgspec.json.Decoder(list[Attachment]).decode

# Separates label ids where a list of lists has to travel as a list of strings.
_UNIT_SEPARATOR = "\x1f"


async def upsert(connection: Connection, mailbox_id: int, messages: Sequence[ProviderMessage]) -> int:
    """Stores messages with their contents and returns how many rows that wrote; older versions change nothing."""
    rows = 0
    for some in _portions(messages):
        if _size(some) > LARGE_BYTES:
            columns = await asyncio.to_thread(_columns, mailbox_id, some)
        else:
            columns = _columns(mailbox_id, some)
        rows += int(await connection.fetchval(_UPSERT, mailbox_id, *columns))
    return rows


def _portions(messages: Sequence[ProviderMessage]) -> Iterator[Sequence[ProviderMessage]]:
    """What is written by one statement each: to send more at once would keep the event loop waiting."""
    some: list[ProviderMessage] = []
    for message in messages:
        if some and _size(some) + _size([message]) > _STATEMENT_BYTES:
            yield some
            some = []
        some.append(message)
    if some:
        yield some


def _size(messages: Sequence[ProviderMessage]) -> int:
    return sum(len(message.content.text or "") + len(message.content.html or "") for message in messages)


def _columns(mailbox_id: int, messages: Sequence[ProviderMessage]) -> list[object]:
    """The arguments of _UPSERT after the first."""
    contents = [message.content for message in messages]
    return [
        [message.external_id for message in messages],
        [message.thread_id for message in messages],
        [message.version for message in messages],
        [message.received_at for message in messages],
        [content.from_ and content.from_.name[:LISTED_TEXT] for content in contents],
        [content.from_ and content.from_.email[:LISTED_TEXT] for content in contents],
        [_to_json(_listed(content.to)) for content in contents],
        [_to_json(_listed(content.cc)) for content in contents],
        [content.subject and content.subject[:LISTED_TEXT] for content in contents],
        [message.snippet[:LISTED_TEXT] for message in messages],
        [_UNIT_SEPARATOR.join(message.label_ids) for message in messages],
        [content.has_attachments for content in contents],
        [message.size for message in messages],
        [_to_json(content.headers) for content in contents],
        [content.text for content in contents],
        [content.html for content in contents],
        [_to_json(content.attachments) for content in contents],
        _UNIT_SEPARATOR,
        [vector_of(content, mailbox_id=mailbox_id) for content in contents],
        [_to_json((content.to, content.cc, content.bcc, content.reply_to)) for content in contents],
    ]


def _listed(addresses: Sequence[Address]) -> Sequence[Address]:
    """The first of them, which lists show."""
    room = LISTED_RECIPIENTS
    for count, address in enumerate(addresses):
        room -= len(address.name) + len(address.email)
        if room < 0:
            return addresses[:count]
    return addresses


async def delete(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> int:
    """Deletes messages that no longer exist at the provider and returns how many were stored."""
    rows = await connection.fetchval(
        f"""
        WITH changed AS (
            DELETE FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            RETURNING message_id, 'deleted' AS kind
        ), {_RECORD}
        SELECT count(*) FROM changed
        """,
        mailbox_id,
        external_ids,
    )
    return int(rows)


async def versions(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> dict[str, int]:
    """The stored versions of these messages; what is not stored is left out."""
    rows = await connection.fetch(
        "SELECT external_id, version FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )
    return {row["external_id"]: int(row["version"]) for row in rows}


async def cap_versions(connection: Connection, mailbox_id: int, version: int) -> None:
    """Makes no stored message newer than this."""
    await connection.execute(
        "UPDATE messages SET version = $2 WHERE mailbox_id = $1 AND version > $2", mailbox_id, version
    )


async def change_labels(
    connection: Connection, mailbox_id: int, changes: Mapping[str, Sequence[LabelChange]]
) -> set[str]:
    """Applies label changes that are newer than the stored message, in order; returns which messages are stored."""
    rows = await connection.fetch(
        """
        SELECT external_id, version, label_ids FROM messages
        WHERE mailbox_id = $1 AND external_id = ANY($2::text[]) FOR UPDATE
        """,
        mailbox_id,
        list(changes),
    )
    updates = []
    for row in rows:
        version, labels = int(row["version"]), set(row["label_ids"])
        newer = [change for change in changes[row["external_id"]] if change.version > version]
        for change in newer:
            labels = (labels | change.added) - change.removed
        if newer:
            updates.append((row["external_id"], newer[-1].version, _UNIT_SEPARATOR.join(sorted(labels))))
    if updates:
        await connection.execute(
            f"""
            WITH changed AS (
                UPDATE messages m SET version = u.version, label_ids = string_to_array(u.label_ids, $5)
                FROM unnest($2::text[], $3::numeric[], $4::text[]) AS u(external_id, version, label_ids)
                WHERE m.mailbox_id = $1 AND m.external_id = u.external_id
                RETURNING m.message_id, 'updated' AS kind
            ), {_RECORD}
            SELECT
            """,
            mailbox_id,
            *map(list, zip(*updates, strict=True)),
            _UNIT_SEPARATOR,
        )
    return {row["external_id"] for row in rows}


async def take_off_label(connection: Connection, mailbox_id: int, label_id: str) -> None:
    """Takes a label that no longer exists off all its messages."""
    carrying = await connection.fetch(
        "SELECT message_id FROM messages WHERE mailbox_id = $1 AND label_ids @> ARRAY[$2]", mailbox_id, label_id
    )
    for some in batched(carrying, _RELABELLED_AT_ONCE, strict=False):
        await connection.execute(
            f"""
            WITH changed AS (
                UPDATE messages SET label_ids = array_remove(label_ids, $2)
                WHERE mailbox_id = $1 AND message_id = ANY($3::bigint[])
                RETURNING message_id, 'updated' AS kind
            ), {_RECORD}
            SELECT
            """,
            mailbox_id,
            label_id,
            [row["message_id"] for row in some],
        )


async def set_label_as_listed(connection: Connection, mailbox_id: int, label_id: str, ids: IdRange) -> None:
    """Puts a label on exactly those messages of a range that the label's listing showed (the `relisted` table).

    Messages that changed since the listing began are left alone: they were fetched, or will be.
    """
    await connection.execute(
        f"""
        WITH changed AS (
            UPDATE messages m SET label_ids = array_append(label_ids, $2)
            FROM sync_states s
            WHERE s.mailbox_id = $1 AND (s.listing_floor IS NULL OR m.version <= s.listing_floor)
                AND m.mailbox_id = $1 AND m.external_id >= $3 AND m.external_id < $4
                AND NOT m.label_ids @> ARRAY[$2] AND m.external_id = ANY(ARRAY(
                    SELECT r.external_id FROM relisted r
                    WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $3 AND r.external_id < $4
                ))
            RETURNING m.message_id, 'updated' AS kind
        ), {_RECORD}
        SELECT
        """,
        mailbox_id,
        label_id,
        ids.start,
        ids.end,
    )
    await connection.execute(
        f"""
        WITH changed AS (
            UPDATE messages m SET label_ids = array_remove(label_ids, $2)
            FROM sync_states s
            WHERE s.mailbox_id = $1 AND (s.listing_floor IS NULL OR m.version <= s.listing_floor)
                AND m.mailbox_id = $1 AND m.external_id >= $3 AND m.external_id < $4
                AND m.label_ids @> ARRAY[$2] AND m.external_id NOT IN (
                    SELECT r.external_id FROM relisted r
                    WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $3 AND r.external_id < $4
                )
            RETURNING m.message_id, 'updated' AS kind
        ), {_RECORD}
        SELECT
        """,
        mailbox_id,
        label_id,
        ids.start,
        ids.end,
    )


SUMMARY = """
    m.mailbox_id, m.message_id, b.account_id, m.external_id, m.thread_id, m.from_name, m.from_email, m.to_addresses,
    m.cc_addresses, m.subject, m.snippet, m.received_at, m.label_ids, m.has_attachments, m.size
"""


async def details(
    connection: Connection,
    user_id: UUID,
    mailbox_id: int,
    message_ids: Sequence[int],
    *,
    label_names: Mapping[str, str],
) -> list[MessageDetail]:
    """Messages of the user's mailbox, whole, newest first; those that do not exist are left out."""
    rows = await connection.fetch(
        f"""
        SELECT {SUMMARY}, c.headers, c.recipients, c.text, c.html, c.attachments
        FROM messages m JOIN mailboxes b USING (mailbox_id) JOIN message_contents c USING (mailbox_id, message_id)
        WHERE m.mailbox_id = $1 AND m.message_id = ANY($2::bigint[]) AND b.user_id = $3
        ORDER BY m.received_at DESC, m.message_id DESC
        """,
        mailbox_id,
        message_ids,
        user_id,
    )
    return [_detail_of(row, label_names) for row in rows]


def _detail_of(row: asyncpg.Record, label_names: Mapping[str, str]) -> MessageDetail:
    recipients = _recipients_from_json(row["recipients"])
    return MessageDetail(
        summary=replace(summary_of(row, label_names), to=recipients.to, cc=recipients.cc),
        headers=_headers_from_json(row["headers"]),
        bcc=recipients.bcc,
        reply_to=recipients.reply_to,
        text=row["text"],
        html=row["html"],
        attachments=attachments_from_json(row["attachments"]),
    )


def summary_of(row: asyncpg.Record, label_names: Mapping[str, str]) -> MessageSummary:
    """The message in a row that was selected with SUMMARY first, its labels by name."""
    # To unpack a row takes a third of the time that its columns take by name.
    (
        mailbox_id, message_id, account_id, external_id, thread_id, from_name, from_email, to_addresses,
        cc_addresses, subject, snippet, received_at, label_ids, has_attachments, size, *_,
    ) = row  # fmt: skip
    return MessageSummary(
        mailbox_id=mailbox_id,
        message_id=message_id,
        account_id=account_id,
        external_id=external_id,
        thread_id=thread_id,
        sender=None if from_email is None else Address(from_name, from_email),
        to=_addresses_from_json(to_addresses),
        cc=_addresses_from_json(cc_addresses),
        subject=subject,
        snippet=snippet,
        received_at=received_at,
        is_read="UNREAD" not in label_ids,
        labels=[label_names.get(label_id, label_id) for label_id in label_ids],
        has_attachments=has_attachments,
        size=size,
    )


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
