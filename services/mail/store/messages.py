"""Writes of messages and their contents. Writes are idempotent: the newer of two versions wins."""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec

from services.mail.content.limits import LARGE_BYTES
from services.mail.content.model import Address, Attachment
from services.mail.marks import NEUTRAL_MARK_IDS, MarkIds
from services.mail.model import ProviderMessage
from services.mail.providers.label_ids import UNSEEN
from services.mail.search.vector import vector_of
from services.mail.store.changes import RECORD_COUNTED
from services.mail.store.connection import Connection

UNSEEN_IDS = f"ARRAY{list(UNSEEN)}"
"""In SQL: the labels of which an unread message has one."""

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
        RETURNING m.message_id, m.external_id, CASE WHEN m.xmax = 0 THEN 'created' ELSE 'updated' END AS kind,
            m.label_ids && {UNSEEN_IDS} AS is_unread
    ), before AS MATERIALIZED (
        -- As they were before this statement. Only one transaction at a time writes messages of a mailbox. It is read
        -- once, if any is not new: to look each up could read the whole mailbox, where statistics do not know it.
        SELECT external_id, (label_ids && {UNSEEN_IDS})::int AS unread FROM messages
        WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
    ), changed AS (
        SELECT message_id, NULL::text AS label_id, kind, (kind = 'created')::int AS messages,
            is_unread::int - CASE WHEN kind = 'created' THEN 0 ELSE (
                SELECT unread FROM before WHERE before.external_id = stored.external_id
            ) END AS unread
        FROM stored
    ), {RECORD_COUNTED}, contents AS (
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
"""Characters kept for lists: of a subject, a snippet, a sender; of all names and addresses in To or Cc.

A header may have a megabyte, and a page 500 messages.
"""

# Characters of texts and headers per statement, unless a single message has more.
_STATEMENT_BYTES = 1024 * 1024

UNIT_SEPARATOR = "\x1f"
"""Separates label ids: arrays of arrays are sent as arrays of strings."""


async def upsert(
    connection: Connection,
    mailbox_id: int,
    messages: Sequence[ProviderMessage],
    *,
    mark_ids: MarkIds = NEUTRAL_MARK_IDS,
) -> int:
    """Store messages with their contents, unless a newer version is stored; return the number of rows written.

    `mark_ids` are those of the mailbox's provider.
    """
    rows = 0
    for some, size in _portions(messages):
        if size > LARGE_BYTES:
            columns = await asyncio.to_thread(_columns, mailbox_id, some, mark_ids)
        else:
            columns = _columns(mailbox_id, some, mark_ids)
        rows += int(await connection.fetchval(_UPSERT, mailbox_id, *columns))
    return rows


def _portions(messages: Sequence[ProviderMessage]) -> Iterator[tuple[Sequence[ProviderMessage], int]]:
    """Yield the messages of each statement, and their size: larger statements would block the event loop."""
    some: list[ProviderMessage] = []
    total = 0
    for message in messages:
        size = text_size(message)
        if some and total + size > _STATEMENT_BYTES:
            yield some, total
            some, total = [], 0
        some.append(message)
        total += size
    if some:
        yield some, total


def text_size(message: ProviderMessage) -> int:
    """Return the number of characters in the message's texts and headers, those of attached messages included."""
    content = message.content
    headers = sum(len(value) for _, value in content.headers)
    return len(content.text or "") + len(content.html or "") + headers + _attached_size(content.attachments)


def _attached_size(attachments: Sequence[Attachment]) -> int:
    """Return the number of characters in the texts of attached messages."""
    attached = [attachment.message for attachment in attachments if attachment.message is not None]
    return sum(len(message.text or "") + _attached_size(message.attachments) for message in attached)


def _columns(mailbox_id: int, messages: Sequence[ProviderMessage], mark_ids: MarkIds) -> list[object]:
    """Return the arguments of _UPSERT after the first."""
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
        [UNIT_SEPARATOR.join([*message.label_ids, *mark_ids.of(message.marks)]) for message in messages],
        [content.has_attachments for content in contents],
        [message.size for message in messages],
        [_to_json(content.headers) for content in contents],
        [content.text for content in contents],
        [content.html for content in contents],
        [_to_json(content.attachments) for content in contents],
        UNIT_SEPARATOR,
        [vector_of(content, mailbox_id=mailbox_id) for content in contents],
        [_to_json((content.to, content.cc, content.bcc, content.reply_to)) for content in contents],
    ]


def _listed(addresses: Sequence[Address]) -> Sequence[Address]:
    """Return the first addresses, as many as lists show."""
    room = LISTED_RECIPIENTS
    for count, address in enumerate(addresses):
        room -= len(address.name) + len(address.email)
        if room < 0:
            return addresses[:count]
    return addresses


async def delete(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> int:
    """Delete messages; return how many were stored."""
    rows = await connection.fetchval(
        f"""
        WITH changed AS (
            DELETE FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            RETURNING message_id, NULL::text AS label_id, 'deleted' AS kind, -1 AS messages,
                -(label_ids && {UNSEEN_IDS})::int AS unread
        ), {RECORD_COUNTED}
        SELECT count(*) FROM changed
        """,
        mailbox_id,
        external_ids,
    )
    return int(rows)


async def newest_ids(connection: Connection, mailbox_id: int, *, limit: int) -> list[str]:
    """Return up to `limit` ids of the messages that were stored last, without those to fetch again.

    Looks at ten times as many messages.
    """
    rows = await connection.fetch(
        """
        WITH newest AS MATERIALIZED (
            SELECT external_id, message_id FROM messages WHERE mailbox_id = $1 ORDER BY message_id DESC LIMIT 10 * $2
        )
        SELECT external_id FROM newest
        WHERE external_id NOT IN (
            SELECT external_id FROM fetch_queue
            WHERE mailbox_id = $1 AND external_id = ANY(ARRAY(SELECT external_id FROM newest))
        )
        ORDER BY message_id DESC LIMIT $2
        """,
        mailbox_id,
        limit,
    )
    return [row["external_id"] for row in rows]


async def versions(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> dict[str, int]:
    """Return the versions of those messages that are stored."""
    rows = await connection.fetch(
        "SELECT external_id, version FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )
    return {row["external_id"]: int(row["version"]) for row in rows}


async def cap_versions(connection: Connection, mailbox_id: int, version: int, *, after: str, limit: int) -> str | None:
    """Lower the version of newer messages to this one, among the `limit` messages whose ids follow `after`.

    Return the last of these ids, None if no message follows.
    """
    last: str | None = await connection.fetchval(
        """
        WITH portion AS (
            SELECT external_id FROM messages WHERE mailbox_id = $1 AND external_id > $3 ORDER BY external_id LIMIT $4
        ), capped AS (
            UPDATE messages m SET version = $2 FROM portion
            WHERE m.mailbox_id = $1 AND m.external_id = portion.external_id AND m.version > $2
        )
        SELECT max(external_id) FROM portion
        """,
        mailbox_id,
        version,
        after,
        limit,
    )
    return last


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
