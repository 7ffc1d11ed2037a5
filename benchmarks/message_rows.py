"""Messages as CSV files for COPY into the tables of mail, row for row what a sync stores."""

import csv
import io
import json
from collections.abc import Iterable, Sequence

from services.mail.model import ProviderMessage
from services.mail.search.vector import vector_of

type TableFile = tuple[str, Sequence[str], bytes]

_MESSAGES = (
    *("mailbox_id", "message_id", "external_id", "thread_id", "version", "received_at", "from_name", "from_email"),
    *("to_addresses", "cc_addresses", "subject", "snippet", "label_ids", "has_attachments", "size"),
)
_CONTENTS = ("mailbox_id", "message_id", "headers", "text", "html", "attachments")
_SEARCH = ("mailbox_id", "message_id", "received_at", "vector")


def table_files(messages: Iterable[ProviderMessage], *, mailbox_id: int, first_id: int) -> list[TableFile]:
    """Tables in the order of their references, their columns and CSV for them; ids count from `first_id`."""
    key, listed, contents, search = mailbox_id, [], [], []
    for number, message in enumerate(messages, first_id):
        content, sender = message.content, message.content.from_
        received = message.received_at.isoformat()
        people = [json.dumps([(address.name, address.email) for address in some]) for some in (content.to, content.cc)]
        listed.append(
            (
                *(key, number, message.external_id, message.thread_id, message.version, received),
                *(sender and sender.name, sender and sender.email, *people, content.subject, message.snippet),
                *("{" + ",".join(message.label_ids) + "}", content.has_attachments, message.size),
            )
        )
        attachments = [{name: getattr(one, name) for name in one.__slots__} for one in content.attachments]
        contents.append((key, number, json.dumps(content.headers), content.text, content.html, json.dumps(attachments)))
        search.append((key, number, received, vector_of(content, mailbox_id=key)))
    return [
        ("messages", _MESSAGES, _csv(listed)),
        ("message_contents", _CONTENTS, _csv(contents)),
        ("message_search", _SEARCH, _csv(search)),
    ]


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_NOTNULL).writerows(rows)
    return file.getvalue().encode()
