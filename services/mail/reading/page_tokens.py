"""Keyset positions as opaque page tokens, encrypted for their list.

A position holds the number of a message or sync, which counts those of all mailboxes, and a list that of its mailbox. A
token shows neither and proves both, so that no guess at them can be checked.
"""

import base64
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.kit.errors import AppError, Kind
from services.mail.read_model import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PAIR = struct.Struct(">qq")
# AES-256 in a mode that gives equal positions equal tokens (RFC 5297): a list that has not changed keeps its ETag.
_KEY_BYTES = 64


class PageTokens:
    """The spelling of positions; `secret` is the database's."""

    def __init__(self, secret: bytes) -> None:
        key = HKDF(SHA256(), length=_KEY_BYTES, salt=None, info=b"mailroom page tokens v1").derive(secret)
        self._cipher = AESSIV(key)

    def encode(self, position: Position, *, scope: Mapping[str, object]) -> str:
        """Return a token for the entries after `position` in the list that `scope` (mailbox and filters) describes."""
        packed = _PAIR.pack((position.received_at - _EPOCH) // _MICROSECOND, position.message_id)
        return base64.urlsafe_b64encode(self._cipher.encrypt(packed, [_bytes_of(scope)])).rstrip(b"=").decode()

    def decode(self, token: str, *, scope: Mapping[str, object]) -> Position | None:
        """Return the position in a token; None for the empty token. Raises AppError invalid_page_token."""
        if not token:
            return None
        try:
            encrypted = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            microseconds, message_id = _PAIR.unpack(self._cipher.decrypt(encrypted, [_bytes_of(scope)]))
        except (ValueError, InvalidTag):
            message = "This cursor is not valid for this list; start without one."
            raise AppError(Kind.INVALID, "invalid_page_token", message) from None
        return Position(received_at=_EPOCH + microseconds * _MICROSECOND, message_id=message_id)


def _bytes_of(scope: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(scope, order="sorted")
