"""The secrets that sign deliveries, and signatures as Standard Webhooks 1.0.0 describes them."""

import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from services.kit.cipher import Cipher, KeyUse

_PREFIX = "whsec_"
_BYTES = 32
_FIELD = "secret"
_USE = KeyUse(b"mailroom webhook secrets v1", b"mailroom webhook secrets key id")


def webhook_cipher(secret: str, *, previous: str | None) -> Cipher:
    """Return the cipher of endpoints' secrets."""
    return Cipher(secret, previous=previous, use=_USE)


class EndpointSecrets:
    """Makes the secrets of endpoints, and encrypts and decrypts them."""

    def __init__(self, cipher: Cipher, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self.cipher = cipher
        self._random = random

    def make(self) -> str:
        """Return a new secret."""
        return _PREFIX + base64.b64encode(self._random(_BYTES)).decode()

    def encrypt(self, secret: str, endpoint_id: UUID) -> bytes:
        """Return the record of a secret, bound to its endpoint."""
        return self.cipher.encrypt(secret, owner=str(endpoint_id), field=_FIELD)

    def decrypt(self, record: bytes, endpoint_id: UUID) -> str:
        """Return the secret of a record. Raises DecryptionError."""
        return self.cipher.decrypt(record, owner=str(endpoint_id), field=_FIELD)


def signed_headers(event_id: str, body: bytes, *, at: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of a delivery at this time, with a signature by each secret.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
    """
    seconds = str(int(at.timestamp()))
    signed = f"{event_id}.{seconds}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
