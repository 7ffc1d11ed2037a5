"""Disconnecting accounts and deleting users.

Both can be repeated after a crash: the transaction that deletes an account also schedules the revocation of its grant.
"""

from uuid import UUID

import structlog

from services.auth.cipher import Cipher, DecryptionError
from services.auth.model import Account, EventType, SecurityEvent
from services.auth.provider_grants.refresh_lock import RefreshLock
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.provider_grants.token_encryption import decrypt_access_token, decrypt_refresh_token, encrypt_grant
from services.auth.providers.base import Consent, Grant, ProviderIdentity
from services.auth.store.provider_tokens import StoredTokens
from services.auth.store.transaction import Store, Transaction

log = structlog.get_logger()


class Disconnections:
    """Disconnection of accounts and deletion of users."""

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
        """Delete the account; revoke its grant if no other application's account stands on it.

        Idempotent: unknown ids succeed, and another user's. Changes nothing if it raises AppError because a refresh of
        the tokens takes too long or a store is unavailable.
        """
        while (seen := await self._owned(account_id, user_id)) is not None:
            # A refresh under way could store a new token that would never be revoked.
            async with self._lock.hold(seen.grant_id), self._store.transaction() as transaction:
                # Another application may be about to add an account to the grant, which the locked rows do not show.
                await transaction.accounts.lock_subject(provider=seen.provider, subject=seen.subject)
                others = await transaction.accounts.lock_on_grant(provider=seen.provider, subject=seen.subject)
                account = next((other for other in others if other.account_id == account_id), None)
                if account is None:
                    return
                if account.grant_id != seen.grant_id:
                    # The account that held the tokens was disconnected meanwhile.
                    continue
                others.remove(account)
                revocation_id = await self._leave_grant(transaction, account, others)
                await transaction.accounts.remove(account_id)
                await transaction.events.add(
                    SecurityEvent(user_id, EventType.ACCOUNT_DISCONNECTED, account_id=account_id, email=account.email)
                )
                await transaction.commit()
            log.info("disconnected", provider=account.provider, account_id=str(account_id))
            if revocation_id is not None:
                await self._revocations.revoke(revocation_id)

    async def delete_user(self, user_id: UUID) -> None:
        """End the user's sessions, disconnect their accounts and delete the user. Raises AppError like `disconnect`."""
        async with self._store.transaction() as transaction:
            await transaction.sessions.end_for_deletion(user_id)
            await transaction.commit()
        while not await self._forget(user_id):
            async with self._store.transaction() as transaction:
                accounts = await transaction.accounts.list_of(user_id)
            for account in accounts:
                await self.disconnect(account_id=account.account_id, user_id=user_id)

    async def _owned(self, account_id: UUID, user_id: UUID) -> Account | None:
        async with self._store.transaction() as transaction:
            account = await transaction.accounts.find(account_id)
        return None if account is None or account.user_id != user_id else account

    async def _leave_grant(self, transaction: Transaction, account: Account, others: list[Account]) -> UUID | None:
        """Schedule the revocation of a grant on which no other account stands; else leave it to the others.

        Returns the id of the revocation; None if there is none.
        """
        if not others:
            return await self._schedule_revocation(transaction, account)
        if account.grant_id == account.account_id:
            await self._hand_over(transaction, account, others[0].account_id)
        return None

    async def _hand_over(self, transaction: Transaction, account: Account, heir: UUID) -> None:
        """Keep the tokens of a grant with another account on it: they go with the account that holds them."""
        stored = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
        await transaction.accounts.move_grant(account.account_id, to=heir)
        if stored is None:
            return
        try:
            grant = self._opened(stored)
        except DecryptionError as error:
            log.error("a grant is lost to its other accounts", account_id=str(heir), reason=str(error))
            return
        await transaction.provider_tokens.put(heir, encrypt_grant(self._cipher, heir, grant, kept=None))

    async def _forget(self, user_id: UUID) -> bool:
        """Delete a user without accounts; return false if an account exists, perhaps again."""
        async with self._store.transaction() as transaction:
            if not await transaction.users.lock(user_id):
                return True
            if await transaction.accounts.list_of(user_id):
                return False
            await transaction.events.forget_user(user_id)
            await transaction.events.add(SecurityEvent(user_id, EventType.USER_DELETED))
            await transaction.users.remove(user_id)
            await transaction.commit()
        log.info("deleted a user", user_id=str(user_id))
        return True

    async def _schedule_revocation(self, transaction: Transaction, account: Account) -> UUID | None:
        """Schedule the revocation of the account's grant; return None if no token can be revoked."""
        stored = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
        if stored is None:
            return None
        try:
            grant = self._opened(stored)
        except DecryptionError as error:
            # Without a readable token the grant cannot be revoked; the account is deleted all the same.
            log.error("a grant cannot be revoked", account_id=str(account.account_id), reason=str(error))
            return None
        identity = ProviderIdentity(subject=account.subject, email=account.email, email_verified=None)
        return await self._revocations.schedule(transaction, Consent(account.provider, identity, grant))

    def _opened(self, stored: StoredTokens) -> Grant:
        grant_id, record = stored.account.grant_id, stored.record
        return Grant(
            access_token=decrypt_access_token(self._cipher, grant_id, record),
            access_token_expires_at=record.access_token_expires_at,
            refresh_token=decrypt_refresh_token(self._cipher, grant_id, record),
            refresh_token_expires_at=record.refresh_token_expires_at,
            scopes=record.scopes,
        )
