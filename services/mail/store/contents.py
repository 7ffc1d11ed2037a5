"""What has to be known of a message before its bytes are fetched."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.mail.content.model import Attachment
from services.mail.model import Mailbox
from services.mail.store.connection import Connection
from services.mail.store.mailboxes import COLUMNS, mailbox_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A stored message."""

    mailbox: Mailbox
    external_id: str
    subject: str | None
    attachments: Sequence[Attachment]


async def find(connection: Connection, user_id: UUID, mailbox_id: int, message_id: int) -> Stored | None:
    """One message of the user's mailbox."""
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
    return Stored(
        mailbox=mailbox_of(row),
        external_id=row["external_id"],
        subject=row["subject"],
        attachments=[Attachment(**fields) for fields in json.loads(row["attachments"])],
    )
