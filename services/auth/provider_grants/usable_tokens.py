"""The stored tokens of accounts, as far as they can be used."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.cipher import Cipher
from services.auth.errors import account_not_found
from services.auth.model import AccountStatus
from services.auth.provider_grants.token_encryption import decrypt_access_token
from services.auth.store.provider_tokens import StoredTokens
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind

NO_MARGIN = timedelta(0)


@dataclass(frozen=True)
class ProviderToken:
    """An access token for the provider's API."""

    value: str = field(repr=False)
    expires_at: datetime


class UsableTokens:
    """The tokens in the store."""

    def __init__(self, *, store: Store, cipher: Cipher, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._cipher = cipher
        self._clock = clock

    async def of(self, account_id: UUID, user_id: UUID) -> StoredTokens:
        """Return the tokens of an active account. Raises AppError account_not_found, reauth_required."""
        async with self._store.transaction() as transaction:
            stored = await transaction.provider_tokens.find(account_id, user_id=user_id)
        if stored is None:
            raise account_not_found()
        if stored.account.status is not AccountStatus.ACTIVE:
            raise reauth_required()
        return stored

    def access_token(
        self, stored: StoredTokens, refused_fingerprint: str, *, margin: timedelta = NO_MARGIN
    ) -> ProviderToken | None:
        """Return the access token if it is valid for `margin` more and is not the one that the provider refused."""
        if stored.record.access_token_expires_at - margin <= self._clock():
            return None
        value = decrypt_access_token(self._cipher, stored.account.grant_id, stored.record)
        if is_refused(value, refused_fingerprint):
            return None
        return ProviderToken(value, stored.record.access_token_expires_at)


def is_refused(token: str, refused_fingerprint: str) -> bool:
    """Return whether the token is the one of this fingerprint: its SHA-256 in hexadecimal digits."""
    return hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), refused_fingerprint)


def reauth_required() -> AppError:
    """Return the error of an account whose grant the provider has ended."""
    return AppError(
        Kind.CONFLICT, "reauth_required", "The provider ended the connection; the user has to sign in again."
    )
