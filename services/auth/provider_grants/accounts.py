"""Users and their connected accounts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog

from services.auth.cipher import Cipher, DecryptionError
from services.auth.errors import account_not_found, user_not_found
from services.auth.model import (
    DEFAULT_APPLICATION,
    UNKNOWN_CLIENT,
    Account,
    AccountStatus,
    Client,
    EventType,
    SecurityEvent,
    User,
)
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.provider_grants.token_encryption import decrypt_refresh_token, encrypt_grant
from services.auth.providers.base import Consent, Grant
from services.auth.sign_up import SignUpPolicy, SignUpRefusedError
from services.auth.store.provider_tokens import StoredTokens, TokenRecord
from services.auth.store.transaction import Store, Transaction

log = structlog.get_logger()

# Accounts of an application that mail is told of at a time: those that it may not know yet.
_NEWEST = 200


class OfflineAccessMissingError(Exception):
    """The grant has no refresh token, and none that still works is stored."""


class AccountIsLinkedError(Exception):
    """The account is linked to a user whose login is another one."""


class AccountOfAnotherUserError(Exception):
    """The account is another user's, or another user signs in with it."""


class Accounts:
    """The accounts of all users. An account is recognised by the provider's subject, never by its address.

    A user signs in with the account that they connected first, also after disconnecting it. Other accounts are linked.
    """

    def __init__(
        self,
        *,
        store: Store,
        cipher: Cipher,
        revocations: GrantRevocations,
        sign_ups: SignUpPolicy,
        new_id: Callable[[], UUID],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._revocations = revocations
        self._sign_ups = sign_ups
        self._new_id = new_id
        self._clock = clock

    async def sign_in(self, consent: Consent, *, client: Client = UNKNOWN_CLIENT) -> Account:
        """Store the grant of a sign-in and return its active account; a first sign-in creates the user.

        Changes nothing if it raises AccountIsLinkedError or OfflineAccessMissingError. SignUpRefusedError: the policy
        refuses a new user, and the grant is revoked soon.
        """
        provider, subject = consent.provider, consent.identity.subject
        async with self._store.transaction() as transaction:
            await transaction.accounts.lock_subject(provider=provider, subject=subject)
            user_id = await transaction.users.find_login(provider=provider, subject=subject, lock=True)
            on_grant = await transaction.accounts.lock_on_grant(provider=provider, subject=subject)
            account = _of_application(on_grant, DEFAULT_APPLICATION)
            if account is not None and account.user_id != user_id:
                raise AccountIsLinkedError
            if user_id is None and not self._sign_ups.admits(consent.identity):
                await self._refuse_sign_up(transaction, consent, client)
                raise SignUpRefusedError
            # Checked before a user is added.
            await self._check_offline_access(transaction, on_grant, consent.grant)
            if user_id is None:
                user_id = self._new_id()
                await transaction.users.add(user_id, provider=provider, subject=subject)
            account = await self._connected(
                transaction,
                on_grant,
                consent,
                application_id=DEFAULT_APPLICATION,
                user_id=user_id,
                new=EventType.ACCOUNT_CONNECTED,
                client=client,
            )
            await transaction.commit()
        return account

    async def link(
        self,
        transaction: Transaction,
        consent: Consent,
        *,
        user_id: UUID,
        client: Client = UNKNOWN_CLIENT,
        new: EventType = EventType.ACCOUNT_LINKED,
    ) -> Account | None:
        """Add the account to the user, or renew it under its id if it is theirs already. The caller commits.

        `new` is the event of an account that is added. Returns None if the user was deleted meanwhile. Raises
        AccountOfAnotherUserError or OfflineAccessMissingError.
        """
        provider, subject = consent.provider, consent.identity.subject
        await transaction.accounts.lock_subject(provider=provider, subject=subject)
        user = await transaction.users.lock(user_id)
        if user is None:
            return None
        on_grant = await transaction.accounts.lock_on_grant(provider=provider, subject=subject)
        account = _of_application(on_grant, user.application_id)
        if account is not None and account.user_id != user_id:
            raise AccountOfAnotherUserError
        login = await transaction.users.find_login(provider=provider, subject=subject)
        # Logins are users of the default application: another application's user takes nothing from them.
        if user.application_id == DEFAULT_APPLICATION and login not in (None, user_id):
            raise AccountOfAnotherUserError
        await self._check_offline_access(transaction, on_grant, consent.grant)
        return await self._connected(
            transaction,
            on_grant,
            consent,
            application_id=user.application_id,
            user_id=user_id,
            new=new,
            client=client,
        )

    async def needs_consent(self, consent: Consent, *, user_id: UUID) -> bool:
        """Return whether a link needs a new consent: the grant has no refresh token, and none is stored."""
        async with self._store.transaction() as transaction:
            user = await transaction.users.find(user_id)
            on_grant = await transaction.accounts.lock_on_grant(
                provider=consent.provider, subject=consent.identity.subject
            )
            account = None if user is None else _of_application(on_grant, user.application_id)
            if account is not None and account.user_id != user_id:
                # Its tokens cannot serve this user: the link is refused later, or the account is disconnected by then.
                on_grant = []
            return consent.grant.refresh_token is None and await self._kept_tokens(transaction, on_grant) is None

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """Return a user's accounts, oldest first; none for an unknown user."""
        async with self._store.transaction() as transaction:
            return await transaction.accounts.list_of(user_id)

    async def list_of_application(self, application_id: UUID, *, account_id: UUID | None) -> list[Account]:
        """Return an application's newest accounts, or the one with this id if it is the application's."""
        async with self._store.transaction() as transaction:
            return await transaction.accounts.list_of_application(application_id, account_id=account_id, limit=_NEWEST)

    async def has_user(self, user_id: UUID, *, application_id: UUID) -> bool:
        """Return whether the user exists and is the application's."""
        async with self._store.transaction() as transaction:
            user = await transaction.users.find(user_id)
        return user is not None and user.application_id == application_id

    async def report(
        self, *, account_id: UUID, user_id: UUID, access_denied_reason: str | None = None, email: str = ""
    ) -> None:
        """Record what mail has learned of an account: whether the provider denies it access, and its address.

        None and an empty address leave what is known. Raises AppError account_not_found, also for another user's.
        """
        async with self._store.transaction() as transaction:
            account = await transaction.accounts.lock(account_id)
            if account is None or account.user_id != user_id:
                raise account_not_found()
            if email and email != account.email:
                await transaction.accounts.rename(account_id, email)
                await self._add_event(transaction, replace(account, email=email), EventType.ACCOUNT_RENAMED)
            if access_denied_reason is not None:
                await self._set_access_denied(transaction, account, access_denied_reason)
            await transaction.commit()

    async def _refuse_sign_up(self, transaction: Transaction, consent: Consent, client: Client) -> None:
        await self._revocations.schedule(transaction, consent)
        never_user = self._new_id()
        await transaction.events.add(
            SecurityEvent(
                never_user,
                EventType.SIGN_UP_REFUSED,
                email=consent.identity.email,
                client=client,
                application_id=DEFAULT_APPLICATION,
            )
        )
        await transaction.commit()

    async def _set_access_denied(self, transaction: Transaction, account: Account, reason: str) -> None:
        """Record a change; an account whose grant has ended is denied nothing else."""
        if account.status is not AccountStatus.ACTIVE or reason == account.access_denied_reason:
            return
        await transaction.accounts.set_access_denied(account.account_id, reason)
        if bool(reason) != bool(account.access_denied_reason):
            event = EventType.ACCESS_DENIED if reason else EventType.ACCESS_RESTORED
            await self._add_event(transaction, account, event)

    async def _add_event(
        self, transaction: Transaction, account: Account, event: EventType, *, client: Client = UNKNOWN_CLIENT
    ) -> None:
        await transaction.events.add(
            SecurityEvent(account.user_id, event, account_id=account.account_id, email=account.email, client=client)
        )

    async def describe(self, user_id: UUID) -> tuple[User, list[Account]]:
        """Return the user with their accounts, oldest first. Raises AppError user_not_found."""
        async with self._store.transaction() as transaction:
            user = await transaction.users.find(user_id)
            if user is None:
                raise user_not_found()
            return user, await transaction.accounts.list_of(user_id)

    async def _check_offline_access(self, transaction: Transaction, on_grant: list[Account], grant: Grant) -> None:
        if grant.refresh_token is None and await self._kept_tokens(transaction, on_grant) is None:
            raise OfflineAccessMissingError

    async def _kept_tokens(self, transaction: Transaction, on_grant: list[Account]) -> TokenRecord | None:
        """Return the stored tokens of the grant if its accounts are active and they have a refresh token that opens.

        One that does not is as good as none: it was encrypted with a key that is lost, and would be kept for ever.
        """
        account = next((account for account in on_grant if account.status is AccountStatus.ACTIVE), None)
        if account is None:
            return None
        stored = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
        if stored is None or not self._has_refresh_token(stored):
            return None
        expires_at = stored.record.refresh_token_expires_at
        return None if expires_at is not None and expires_at <= self._clock() else stored.record

    def _has_refresh_token(self, stored: StoredTokens) -> bool:
        try:
            return decrypt_refresh_token(self._cipher, stored.account.grant_id, stored.record) is not None
        except DecryptionError as error:
            account_id = str(stored.account.account_id)
            log.error("a refresh token does not open", account_id=account_id, reason=str(error))
            return False

    async def _connected(
        self,
        transaction: Transaction,
        on_grant: list[Account],
        consent: Consent,
        *,
        application_id: UUID,
        user_id: UUID,
        new: EventType,
        client: Client,
    ) -> Account:
        identity = consent.identity
        kept = await self._kept_tokens(transaction, on_grant)
        account = _of_application(on_grant, application_id)
        event = EventType.ACCOUNT_RECONNECTED
        if account is None:
            event = new
            account_id = self._new_id()
            account = await transaction.accounts.add(
                account_id=account_id,
                application_id=application_id,
                user_id=user_id,
                grant_id=on_grant[0].grant_id if on_grant else account_id,
                provider=consent.provider,
                subject=identity.subject,
                email=identity.email,
            )
        else:
            account = await transaction.accounts.activate(account.account_id, email=identity.email)
        await transaction.accounts.activate_grant(account.grant_id)
        record = encrypt_grant(self._cipher, account.grant_id, consent.grant, kept=kept)
        await transaction.provider_tokens.put(account.grant_id, record)
        await self._add_event(transaction, account, event, client=client)
        return account


def _of_application(on_grant: list[Account], application_id: UUID) -> Account | None:
    return next((account for account in on_grant if account.application_id == application_id), None)
