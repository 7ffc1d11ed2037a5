"""Ids of messages: the server's, where it has any, else the digest of the header block with the size."""

import base64
import hashlib


def id_by_server(object_id: str) -> str:
    """Return the id of a message with an EMAILID (RFC 8474)."""
    return f"E{object_id}"


def id_by_content(header: bytes, size: int) -> str:
    """Return the id of a message by its header block and its size as the server gives it: both cost no body."""
    digest = hashlib.sha256(b"%d\n" % size + header).digest()
    return "M" + base64.urlsafe_b64encode(digest[:24]).decode()
