"""A session, and the cookie in which the browser keeps it encrypted."""

import base64
import json
import os
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.kit.api_key import ApiKeyText, MalformedKeyError, parse

_NONCE_BYTES = 12
_PURPOSE = b"mailroom console session v1"


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that acts with an API key. Times are in seconds since 1970.

    `form_token` is in every form of the session: a page of another origin cannot know it.
    """

    id: str
    key: ApiKeyText
    form_token: str
    began: float
    last_seen: float

    def seen(self, now: float) -> "Session":
        """Return the session after a request."""
        return replace(self, last_seen=now)


class SessionCipher:
    """Encrypts sessions (AES-256-GCM): a browser can neither read nor change its own."""

    def __init__(self, secret: str) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
        self._cipher = AESGCM(key)

    def encrypt(self, session: Session) -> str:
        """Return the text of the cookie."""
        record = {
            "id": session.id,
            "key": session.key.value,
            "form": session.form_token,
            "began": session.began,
            "seen": session.last_seen,
        }
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = nonce + self._cipher.encrypt(nonce, json.dumps(record).encode(), _PURPOSE)
        return base64.urlsafe_b64encode(encrypted).decode().rstrip("=")

    def decrypt(self, text: str) -> Session | None:
        """Return the session in a cookie, None if it was not encrypted with this secret."""
        try:
            encrypted = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            record = json.loads(self._cipher.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], _PURPOSE))
            return Session(
                id=record["id"],
                key=parse(record["key"]),
                form_token=record["form"],
                began=record["began"],
                last_seen=record["seen"],
            )
        except (ValueError, InvalidTag, MalformedKeyError):
            return None
