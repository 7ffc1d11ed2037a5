"""Ending accounts and users: nothing of theirs can be used any more, and the provider is told.

Whatever dies half-way, a repeat goes on: an account is deleted in the transaction that makes its grant one to revoke.
"""

from uuid import UUID

import structlog

from services.auth.cipher import Cipher, DecryptionError
from services.auth.model import Account, EventType, SecurityEvent
from services.auth.provider_grants.refresh_lock import RefreshLock
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.provider_grants.token_encryption import decrypt_access_token, decrypt_refresh_token
from services.auth.providers.base import Consent, Grant, ProviderIdentity
from services.auth.store.provider_tokens import StoredTokens
from services.auth.store.transaction import Store, Transaction

log = structlog.get_logger()


class Disconnections:
    """Disconnects accounts and deletes users."""

    def __init__(
        self,
        *,
        store: Store,
        cipher: Cipher,
        revocations: GrantRevocations,
        lock: RefreshLock,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._revocations = revocations
        self._lock = lock

    async def disconnect(self, *, account_id: UUID, user_id: UUID) -> None:
        """Deletes the account with its tokens and revokes its grant. One that is gone, or another user's, is done.

        Raises AppError if a refresh of its tokens takes too long, or a store cannot be used: nothing has changed then.
        """
        # A refresh under way could bring a new token that nobody would revoke.
        async with self._lock.hold(account_id), self._store.transaction() as transaction:
            account = await transaction.accounts.lock(account_id)
            if account is None or account.user_id != user_id:
                return
            grant_id = await self._schedule_revocation(transaction, account)
            await transaction.accounts.remove(account_id)
            await transaction.events.add(
                SecurityEvent(user_id, EventType.ACCOUNT_DISCONNECTED, account_id=account_id, email=account.email)
            )
            await transaction.commit()
        log.info("disconnected", provider=account.provider, account_id=str(account_id))
        if grant_id is not None:
            await self._revocations.revoke(grant_id)

    async def delete_user(self, user_id: UUID) -> None:
        """Ends the user's sessions, disconnects their accounts and forgets them. Raises AppError like `disconnect`."""
        async with self._store.transaction() as transaction:
            await transaction.sessions.end_all(user_id)
            await transaction.commit()
        while not await self._forget(user_id):
            async with self._store.transaction() as transaction:
                accounts = await transaction.accounts.list_of(user_id)
            for account in accounts:
                await self.disconnect(account_id=account.account_id, user_id=user_id)

    async def _forget(self, user_id: UUID) -> bool:
        """Deletes a user without accounts; false if they have some (again)."""
        async with self._store.transaction() as transaction:
            if not await transaction.users.lock(user_id):
                return True
            if await transaction.accounts.list_of(user_id):
                return False
            await transaction.users.remove(user_id)
            await transaction.events.forget_user(user_id)
            await transaction.events.add(SecurityEvent(user_id, EventType.USER_DELETED))
            await transaction.commit()
        log.info("deleted a user", user_id=str(user_id))
        return True

    async def _schedule_revocation(self, transaction: Transaction, account: Account) -> UUID | None:
        """Makes the account's grant one to revoke; None if there is nothing that could be revoked."""
        stored = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
        if stored is None:
            return None
        try:
            grant = self._opened(stored)
        except DecryptionError as error:
            # The user wants it gone; what does not open can only be forgotten.
            log.error("a grant cannot be revoked", account_id=str(account.account_id), reason=str(error))
            return None
        subject = await transaction.accounts.subject_of(account.account_id)
        identity = ProviderIdentity(subject=subject, email=account.email, email_verified=True)
        return await self._revocations.schedule(transaction, Consent(account.provider, identity, grant))

    def _opened(self, stored: StoredTokens) -> Grant:
        account_id, record = stored.account.account_id, stored.record
        return Grant(
            access_token=decrypt_access_token(self._cipher, account_id, record),
            access_token_expires_at=record.access_token_expires_at,
            refresh_token=decrypt_refresh_token(self._cipher, account_id, record),
            refresh_token_expires_at=record.refresh_token_expires_at,
            scopes=record.scopes,
        )
