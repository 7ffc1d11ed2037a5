"""Users and the provider accounts that they connected."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from services.auth.model import Account, AccountStatus
from services.auth.providers.base import Grant, Identity
from services.auth.store import Store, TokenRecord, Transaction
from services.auth.token_records import seal_grant
from services.auth.vault import Vault


class OfflineAccessMissingError(Exception):
    """The grant has no refresh token, and none that still works is stored."""


class Accounts:
    """Finds, creates and renews accounts. An account is recognised by the provider's subject, never by its address."""

    def __init__(
        self, *, store: Store, vault: Vault, new_id: Callable[[], UUID], clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._vault = vault
        self._new_id = new_id
        self._clock = clock

    async def sign_in(self, *, provider: str, identity: Identity, grant: Grant) -> Account:
        """The account that signed in, with a new user if it is the first time; keeps the grant and sets it active.

        Raises OfflineAccessMissingError, and then nothing has changed.
        """
        async with self._store.transaction() as transaction:
            await transaction.lock_subject(provider=provider, subject=identity.subject)
            account = await transaction.find_account(provider=provider, subject=identity.subject)
            kept = await self._kept_tokens(transaction, account)
            if grant.refresh_token is None and kept is None:
                raise OfflineAccessMissingError
            account = await self._renewed(transaction, account, provider=provider, identity=identity)
            await transaction.put_tokens(
                account.account_id, seal_grant(self._vault, account.account_id, grant, kept=kept)
            )
            await transaction.commit()
        return account

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """A user's accounts, oldest first; none for an unknown user."""
        async with self._store.transaction() as transaction:
            return await transaction.list_accounts(user_id)

    async def _kept_tokens(self, transaction: Transaction, account: Account | None) -> TokenRecord | None:
        """The stored tokens, if their refresh token can be expected to work."""
        if account is None or account.status is not AccountStatus.ACTIVE:
            return None
        stored = await transaction.find_tokens(account.account_id, user_id=account.user_id)
        if stored is None or stored.record.refresh_token is None:
            return None
        expires_at = stored.record.refresh_token_expires_at
        return None if expires_at is not None and expires_at <= self._clock() else stored.record

    async def _renewed(
        self, transaction: Transaction, account: Account | None, *, provider: str, identity: Identity
    ) -> Account:
        if account is not None:
            return await transaction.activate_account(account.account_id, email=identity.email)
        return await transaction.add_account(
            account_id=self._new_id(),
            user_id=self._new_id(),
            provider=provider,
            subject=identity.subject,
            email=identity.email,
        )
