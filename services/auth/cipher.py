"""Encryption of auth's secrets in the database: provider tokens, signing keys, pending grants."""

import os
from collections.abc import Callable

from services.auth.command_settings import AuthKeySettings
from services.kit import cipher
from services.kit.cipher import DecryptionError, KeyUse

__all__ = ["Cipher", "DecryptionError", "cipher_of"]

_USE = KeyUse(b"mailroom vault v1", b"mailroom vault key id")


class Cipher(cipher.Cipher):
    """The cipher of auth, under SECRET_KEY and SECRET_KEY_PREVIOUS."""

    def __init__(self, secret: str, *, previous: str | None, random: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(secret, previous=previous, use=_USE, random=random)


def cipher_of(settings: AuthKeySettings) -> Cipher:
    """Return the cipher of the records in the database."""
    previous = settings.secret_key_previous
    return Cipher(
        settings.secret_key.get_secret_value(), previous=None if previous is None else previous.get_secret_value()
    )
