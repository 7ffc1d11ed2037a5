"""Gmail's `format=raw` through Python's own parser: charsets and transfer encodings as the mail declares them."""

import base64
import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from typing import Any, Literal


def read(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a message except its mailbox."""
    data = base64.urlsafe_b64decode(resource["raw"] + "==")
    mail = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    name, address = parseaddr(str(mail["from"] or ""))
    attachments = [_attachment(part) for part in mail.iter_attachments()]
    return {
        "external_id": resource["id"],
        "thread_id": resource["threadId"],
        "version": int(resource["historyId"]),
        "received_at": datetime.fromtimestamp(int(resource["internalDate"]) / 1000, UTC),
        "from_name": name,
        "from_email": address,
        "to_addresses": [
            {"name": who, "email": address}
            for who, address in getaddresses([str(value) for value in mail.get_all("to", [])])
        ],
        "cc_addresses": [
            {"name": who, "email": address}
            for who, address in getaddresses([str(value) for value in mail.get_all("cc", [])])
        ],
        "subject": mail["subject"],
        "snippet": resource.get("snippet", ""),
        "label_ids": resource.get("labelIds", []),
        "has_attachments": bool(attachments),
        "size": resource.get("sizeEstimate", len(data)),
        "headers": [(name, str(value)) for name, value in mail.items()],
        "text": _text(mail, "plain"),
        "html": _text(mail, "html"),
        "attachments": attachments,
    }


def _text(mail: EmailMessage, kind: Literal["plain", "html"]) -> str | None:
    part = mail.get_body((kind,))
    return None if part is None else part.get_content().replace("\0", "")


def _attachment(part: EmailMessage) -> dict[str, Any]:
    size = len(part.get_payload(decode=True) or b"")
    return {"filename": part.get_filename(), "type": part.get_content_type(), "size": size}
