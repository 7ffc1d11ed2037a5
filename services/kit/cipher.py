"""Encryption of secrets in a database.

A record is: format (1 byte), key id (8), nonce (12), AES-256-GCM ciphertext and tag. The owner and the field are
authenticated with it, so that a record that was moved to another row or column cannot be decrypted.
Random 96-bit nonces are safe for 2**32 records under one key (NIST SP 800-38D, section 8.3).
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_FORMAT = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_FORMAT) + _KEY_ID_BYTES


class DecryptionError(Exception):
    """A record cannot be decrypted: another key, another owner or field, or changed bytes."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What keys are derived for: the same secret makes another key for another use. Changing one loses all records."""

    key: bytes
    key_id: bytes


class _Key:
    def __init__(self, secret: str, use: KeyUse) -> None:
        derived = HKDF(SHA256(), length=32, salt=None, info=use.key).derive(secret.encode())
        self.aead = AESGCM(derived)
        self.id = hashlib.sha256(use.key_id + derived).digest()[:_KEY_ID_BYTES]


class Cipher:
    """The cipher of one service: it encrypts under the current secret and decrypts records of either secret."""

    def __init__(
        self, secret: str, *, previous: str | None, use: KeyUse, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._current = _Key(secret, use)
        ring = [self._current] if previous is None else [_Key(previous, use), self._current]
        self._ring = {key.id: key for key in ring}
        self._random = random

    def encrypt(self, text: str, *, owner: str, field: str) -> bytes:
        """Return the record of `text`, bound to the owner's id (without a colon in it) and the field's name."""
        header = self.header
        nonce = self._random(_NONCE_BYTES)
        return header + nonce + self._current.aead.encrypt(nonce, text.encode(), _context(header, owner, field))

    def decrypt(self, record: bytes, *, owner: str, field: str) -> str:
        """Return the text that was encrypted for this owner and field. Raises DecryptionError."""
        header = record[:_HEADER_BYTES]
        if len(record) < _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES or not header.startswith(_FORMAT):
            raise DecryptionError("not an encrypted record")
        key = self._ring.get(header[len(_FORMAT) :])
        if key is None:
            raise DecryptionError("encrypted with a secret that is neither the current nor the previous one")
        nonce = record[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
        encrypted = record[_HEADER_BYTES + _NONCE_BYTES :]
        try:
            return key.aead.decrypt(nonce, encrypted, _context(header, owner, field)).decode()
        except InvalidTag as error:
            raise DecryptionError("the record was changed or belongs elsewhere") from error

    @property
    def header(self) -> bytes:
        """The first bytes of records that are encrypted under the current secret."""
        return _FORMAT + self._current.id


def _context(header: bytes, owner: str, field: str) -> bytes:
    return header + f"{owner}:{field}".encode()
