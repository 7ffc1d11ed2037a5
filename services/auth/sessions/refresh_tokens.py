"""Our own refresh tokens: a session's id, 256 secret bits and our mark, opaque to clients and stored as a digest only.

A token's successor is computed from it under a key of the server, so that a repeated request gets the same successor
although that is stored nowhere. The mark is computed under another key. It tells a token that was spent long ago, which
is stored nowhere either, from a forged one: the session's id in it is no secret.
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
_MARK_BYTES = 18
# 66 bytes in base64 need no padding.
_LENGTH = (_ID_BYTES + _SECRET_BYTES + _MARK_BYTES) * 4 // 3


@dataclass(frozen=True)
class RefreshToken:
    """A refresh token of a session."""

    session_id: UUID
    secret: bytes = field(repr=False)
    mark: bytes = field(repr=False)

    @property
    def value(self) -> str:
        """The token as clients store it."""
        return base64.urlsafe_b64encode(self.session_id.bytes + self.secret + self.mark).decode()

    @property
    def digest(self) -> bytes:
        """The digest by which the token is stored. A plain hash suffices, because the secret is random."""
        return hashlib.sha256(self.session_id.bytes + self.secret + self.mark).digest()


def parse(value: str) -> RefreshToken | None:
    """Return the token in a client's text; None if it is malformed."""
    if len(value) != _LENGTH or not value.isascii():
        return None
    try:
        raw = base64.b64decode(value, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mark_at = _ID_BYTES + _SECRET_BYTES
    return RefreshToken(UUID(bytes=raw[:_ID_BYTES]), raw[_ID_BYTES:mark_at], raw[mark_at:])


class RefreshTokens:
    """The generator of tokens and their successors."""

    def __init__(self, secret: str, *, previous: str | None, random: Callable[[int], bytes]) -> None:
        self._keys = [_Key(secret)] if previous is None else [_Key(secret), _Key(previous)]
        self._random = random

    def first(self, session_id: UUID) -> RefreshToken:
        """Return the first token of a session."""
        return self._keys[0].token(session_id, self._random(_SECRET_BYTES))

    def successors(self, token: RefreshToken) -> list[RefreshToken]:
        """Return the successor of a token, then the one under the previous secret, which other processes may use."""
        return [key.successor(token) for key in self._keys]

    def issued(self, token: RefreshToken) -> bool:
        """Return whether the token was ever issued, under either secret."""
        made = [key.token(token.session_id, token.secret) for key in self._keys]
        return any(hmac.compare_digest(token.mark, own.mark) for own in made)


class _Key:
    def __init__(self, secret: str) -> None:
        derived = HKDF(SHA256(), length=64, salt=None, info=b"mailroom refresh tokens v1").derive(secret.encode())
        self._successors, self._marks = derived[:32], derived[32:]

    def token(self, session_id: UUID, secret: bytes) -> RefreshToken:
        mark = hmac.digest(self._marks, session_id.bytes + secret, "sha256")[:_MARK_BYTES]
        return RefreshToken(session_id, secret, mark)

    def successor(self, token: RefreshToken) -> RefreshToken:
        message = token.session_id.bytes + token.secret
        return self.token(token.session_id, hmac.digest(self._successors, message, "sha256"))
