"""Stored messages as downloads need them: the provider's ids and file names."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.mail.content.model import Attachment
from services.mail.ids import PublicId
from services.mail.model import Mailbox
from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import COLUMNS, mailbox_of
from services.mail.store.reading.message_rows import attachments_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadableMessage:
    """A stored message without its text."""

    mailbox: Mailbox
    message_id: int
    external_id: str
    subject: str | None
    attachments: Sequence[Attachment]


async def find(connection: Connection, user_id: UUID, mailbox_id: int, message_id: int) -> DownloadableMessage | None:
    """Return a message of the user's mailbox."""
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS}, g.external_id, g.subject, c.attachments
        FROM messages g JOIN mailboxes m USING (mailbox_id) JOIN message_contents c USING (mailbox_id, message_id)
        WHERE g.mailbox_id = $1 AND g.message_id = $2 AND m.user_id = $3
        """,
        mailbox_id,
        message_id,
        user_id,
    )
    if row is None:
        return None
    return DownloadableMessage(
        mailbox=mailbox_of(row),
        message_id=message_id,
        external_id=row["external_id"],
        subject=row["subject"],
        attachments=attachments_from_json(row["attachments"]),
    )


async def still_stored(connection: Connection, ids: Collection[PublicId]) -> set[PublicId]:
    """Return the ids that are stored, in mailboxes that are not disconnected."""
    rows = await connection.fetch(
        """
        SELECT mailbox_id, message_id FROM unnest($1::bigint[], $2::bigint[]) AS cached(mailbox_id, message_id)
        JOIN messages USING (mailbox_id, message_id) JOIN mailboxes m USING (mailbox_id) WHERE m.user_id IS NOT NULL
        """,
        [id_.mailbox_id for id_ in ids],
        [id_.local_id for id_ in ids],
    )
    return {PublicId(row["mailbox_id"], row["message_id"]) for row in rows}
