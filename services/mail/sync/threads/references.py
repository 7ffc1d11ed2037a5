"""The message ids by which a message finds its thread (RFC 5322, section 3.6.4)."""

import hashlib
from typing import Final

from services.mail.content.model import ParsedMessage

MOST_REFERENCES: Final = 50
"""Ids of a References header that count: the first and the last ones, which a header that was cut keeps."""
_BYTES: Final = 12


def references_of(content: ParsedMessage) -> list[bytes]:
    """Return digests of the ids that a message refers to and of its own, each once, that of the thread's root first.

    A message without any id has none. Ids are compared as they are written: RFC 5322 gives them no other form.
    """
    listed = content.references
    if len(listed) > MOST_REFERENCES:
        listed = (listed[0], *listed[1 - MOST_REFERENCES :])
    chain = (*listed, content.in_reply_to, content.message_id)
    return list(dict.fromkeys(_digest(each) for each in chain if each))


def _digest(message_id: str) -> bytes:
    """Return an id in a fixed size: it may have a megabyte."""
    return hashlib.sha256(message_id.encode()).digest()[:_BYTES]


def thread_of_root(root: bytes) -> str:
    """Return the id of a thread that begins with the message of this digest."""
    return f"T{root.hex()}"
