"""Conversion of a provider's grant to an encrypted record and back."""

from uuid import UUID

from services.auth.cipher import Cipher
from services.auth.providers.base import Grant
from services.auth.store.provider_tokens import TokenRecord

ACCESS_TOKEN = "access_token"  # noqa: S105 - a field's name
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a field's name


def encrypt_grant(cipher: Cipher, grant_id: UUID, grant: Grant, *, kept: TokenRecord | None) -> TokenRecord:
    """Return the record of a grant; without a new refresh token it keeps the stored one, as refreshes often omit it."""
    owner = str(grant_id)
    refresh_token = kept.refresh_token if kept is not None else None
    refresh_token_expires_at = grant.refresh_token_expires_at
    if grant.refresh_token is not None:
        refresh_token = cipher.encrypt(grant.refresh_token, owner=owner, field=REFRESH_TOKEN)
    elif kept is not None and refresh_token_expires_at is None:
        refresh_token_expires_at = kept.refresh_token_expires_at
    return TokenRecord(
        access_token=cipher.encrypt(grant.access_token, owner=owner, field=ACCESS_TOKEN),
        access_token_expires_at=grant.access_token_expires_at,
        refresh_token=refresh_token,
        refresh_token_expires_at=refresh_token_expires_at,
        scopes=grant.scopes,
    )


def decrypt_access_token(cipher: Cipher, grant_id: UUID, record: TokenRecord) -> str:
    """Return the access token. Raises DecryptionError."""
    return cipher.decrypt(record.access_token, owner=str(grant_id), field=ACCESS_TOKEN)


def decrypt_refresh_token(cipher: Cipher, grant_id: UUID, record: TokenRecord) -> str | None:
    """Return the refresh token, None if the provider gave none. Raises DecryptionError."""
    if record.refresh_token is None:
        return None
    return cipher.decrypt(record.refresh_token, owner=str(grant_id), field=REFRESH_TOKEN)
