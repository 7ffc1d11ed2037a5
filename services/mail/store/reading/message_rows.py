"""Stored messages in the form that users see. Every query names the user."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from services.mail.content.model import Address, Attachment
from services.mail.providers.label_ids import NOT_SHOWN, UNSEEN, marks_of
from services.mail.read_model import MessageDetail, MessageSummary, Recipients
from services.mail.store.connection import Connection

_addresses_from_json = msgspec.json.Decoder(list[Address]).decode
_recipients_from_json = msgspec.json.Decoder(Recipients).decode
_headers_from_json = msgspec.json.Decoder(list[tuple[str, str]]).decode
_UNSEEN = frozenset(UNSEEN)
attachments_from_json = msgspec.json.Decoder(list[Attachment]).decode

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
    """Return whole messages of the user's mailbox, newest first, without those that do not exist."""
    rows = await connection.fetch(
        f"""
        SELECT {SUMMARY}, c.headers, c.recipients, c.text, c.html, c.attachments
        FROM messages m JOIN mailboxes b USING (mailbox_id)
        -- OFFSET lets the planner look each one up, also in a mailbox that its statistics do not know.
        CROSS JOIN LATERAL (
            SELECT * FROM message_contents WHERE mailbox_id = $1 AND message_id = m.message_id OFFSET 0
        ) c
        WHERE m.mailbox_id = $1 AND m.message_id = ANY($2::bigint[]) AND b.user_id = $3
        ORDER BY m.received_at DESC, m.message_id DESC
        """,
        mailbox_id,
        message_ids,
        user_id,
    )
    return [_detail_of(row, label_names) for row in rows]


async def summaries(
    connection: Connection,
    user_id: UUID,
    mailbox_id: int,
    message_ids: Sequence[int],
    *,
    label_names: Mapping[str, str],
) -> list[MessageSummary]:
    """Return messages of the user's mailbox, without those that do not exist."""
    rows = await connection.fetch(
        f"""
        SELECT {SUMMARY} FROM messages m JOIN mailboxes b USING (mailbox_id)
        WHERE m.mailbox_id = $1 AND m.message_id = ANY($2::bigint[]) AND b.user_id = $3
        """,
        mailbox_id,
        message_ids,
        user_id,
    )
    return [summary_of(row, label_names) for row in rows]


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
    """Return the message of a row that begins with SUMMARY, with its labels by name."""
    # Unpacked: lists make many, and a lookup by name per column costs more.
    (
        mailbox_id, message_id, account_id, external_id, thread_id, from_name, from_email, to_addresses,
        cc_addresses, subject, snippet, received_at, label_ids, has_attachments, size, *_,
    ) = row  # fmt: skip
    is_read = _UNSEEN.isdisjoint(label_ids)
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
        is_read=is_read,
        marks=marks_of(label_ids, is_read=is_read),
        labels=[label_names.get(label_id, label_id) for label_id in label_ids if label_id not in NOT_SHOWN],
        has_attachments=has_attachments,
        size=size,
    )
