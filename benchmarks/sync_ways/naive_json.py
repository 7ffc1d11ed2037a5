"""Gmail's `format=full` as its guides read it: headers by name, the first text and HTML parts, UTF-8 throughout."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import getaddresses, parseaddr
from typing import Any


def read(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a message except its mailbox."""
    payload = resource["payload"]
    headers = [(header["name"], header["value"]) for header in payload.get("headers", [])]
    first = {name.lower(): value for name, value in reversed(headers)}
    name, address = parseaddr(first.get("from", ""))
    parts = list(_leaves(payload))
    attachments = [_attachment(part) for part in parts if part.get("filename")]
    return {
        "external_id": resource["id"],
        "thread_id": resource["threadId"],
        "version": int(resource["historyId"]),
        "received_at": datetime.fromtimestamp(int(resource["internalDate"]) / 1000, UTC),
        "from_name": name,
        "from_email": address,
        "to_addresses": [{"name": who, "email": address} for who, address in getaddresses([first.get("to", "")])],
        "cc_addresses": [{"name": who, "email": address} for who, address in getaddresses([first.get("cc", "")])],
        "subject": first.get("subject"),
        "snippet": resource.get("snippet", ""),
        "label_ids": resource.get("labelIds", []),
        "has_attachments": bool(attachments),
        "size": resource.get("sizeEstimate", 0),
        "headers": headers,
        "text": _text(parts, "text/plain"),
        "html": _text(parts, "text/html"),
        "attachments": attachments,
    }


def _leaves(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "parts" not in part:
        yield part
    for child in part.get("parts", []):
        yield from _leaves(child)


def _text(parts: list[dict[str, Any]], mime_type: str) -> str | None:
    for part in parts:
        if part.get("mimeType") == mime_type and not part.get("filename"):
            data = part.get("body", {}).get("data", "")
            return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)).decode("utf-8", "replace").replace("\0", "")
    return None


def _attachment(part: dict[str, Any]) -> dict[str, Any]:
    body = part.get("body", {})
    return {"id": part.get("partId"), "filename": part["filename"], "type": part["mimeType"], "size": body.get("size")}
