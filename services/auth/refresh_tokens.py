"""Our own refresh tokens: a session's id and 256 secret bits, opaque to clients and stored as a digest only.

A token's successor is computed from it under a key of the server, so that a repeated request can be answered with the
same successor although that is stored nowhere.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_ID_BYTES = 16
_SECRET_BYTES = 32
# 48 bytes in base64 need no padding.
_LENGTH = (_ID_BYTES + _SECRET_BYTES) * 4 // 3


@dataclass(frozen=True)
class RefreshToken:
    """A refresh token of a session."""

    session_id: UUID
    secret: bytes = field(repr=False)

    @property
    def value(self) -> str:
        """The token as clients keep it."""
        return base64.urlsafe_b64encode(self.session_id.bytes + self.secret).decode()

    @property
    def digest(self) -> bytes:
        """The token as it is stored. The secret is random, so that a plain hash cannot be searched."""
        return hashlib.sha256(self.session_id.bytes + self.secret).digest()


def parse(value: str) -> RefreshToken | None:
    """The token in a client's text, None if it cannot be one."""
    if len(value) != _LENGTH or not value.isascii():
        return None
    try:
        raw = base64.b64decode(value, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return RefreshToken(UUID(bytes=raw[:_ID_BYTES]), raw[_ID_BYTES:])


class RefreshTokens:
    """Makes tokens and their successors."""

    def __init__(self, secret: str, *, previous: str | None, random: Callable[[int], bytes]) -> None:
        self._keys = [_key(secret)] if previous is None else [_key(secret), _key(previous)]
        self._random = random

    def first(self, session_id: UUID) -> RefreshToken:
        """The first token of a session."""
        return RefreshToken(session_id, self._random(_SECRET_BYTES))

    def successors(self, token: RefreshToken) -> list[RefreshToken]:
        """The successor of a token; after it those under the previous secret, which another process may still use."""
        message = token.session_id.bytes + token.secret
        return [RefreshToken(token.session_id, hmac.digest(key, message, "sha256")) for key in self._keys]


def _key(secret: str) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"mailroom refresh tokens v1").derive(secret.encode())
