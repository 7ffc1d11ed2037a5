"""Messages as CSV for COPY into the tables of mail, with the rows that a sync stores."""

import csv
import io
from collections.abc import Iterable, Sequence

import msgspec

from services.mail.model import ProviderMessage
from services.mail.providers.label_ids import mark_ids
from services.mail.search.vector import vector_of

type TableFile = tuple[str, Sequence[str], bytes]

_MESSAGES = (
    *("mailbox_id", "message_id", "external_id", "thread_id", "version", "received_at", "from_name", "from_email"),
    *("to_addresses", "cc_addresses", "subject", "snippet", "label_ids", "has_attachments", "size"),
)
_CONTENTS = ("mailbox_id", "message_id", "headers", "recipients", "text", "html", "attachments")
_MARK_IDS = mark_ids("google")
_SEARCH = ("mailbox_id", "message_id", "received_at", "vector")


def table_files(messages: Iterable[ProviderMessage], *, mailbox_id: int, first_id: int) -> list[TableFile]:
    """Return tables in the order of their references, with columns and CSV; ids count from `first_id`."""
    key, listed, contents, search = mailbox_id, [], [], []
    for number, message in enumerate(messages, first_id):
        content, sender = message.content, message.content.from_
        received = message.received_at.isoformat()
        listed.append(
            (
                *(key, number, message.external_id, message.thread_id, message.version, received),
                *(sender and sender.name, sender and sender.email, _json(content.to), _json(content.cc)),
                *(content.subject, message.snippet),
                *(
                    "{" + ",".join((*message.label_ids, *_MARK_IDS.of(message.marks))) + "}",
                    content.has_attachments,
                    message.size,
                ),
            )
        )
        recipients = (content.to, content.cc, content.bcc, content.reply_to)
        described = (_json(content.headers), _json(recipients))
        contents.append((key, number, *described, content.text, content.html, _json(content.attachments)))
        search.append((key, number, received, vector_of(content, mailbox_id=key)))
    return [
        ("messages", _MESSAGES, _csv(listed)),
        ("message_contents", _CONTENTS, _csv(contents)),
        ("message_search", _SEARCH, _csv(search)),
    ]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_NOTNULL).writerows(rows)
    return file.getvalue().encode()
