"""Access tokens for the provider's API: the stored one while it is valid, else a refreshed one."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter

from services.auth.cipher import Cipher, DecryptionError
from services.auth.errors import account_not_found
from services.auth.model import Account, AccountStatus, EventType, SecurityEvent
from services.auth.provider_grants.refresh_lock import RefreshLock, provider_unavailable
from services.auth.provider_grants.token_encryption import decrypt_access_token, decrypt_refresh_token, encrypt_grant
from services.auth.providers.base import (
    AccessRefusedError,
    Grant,
    GrantRefusedError,
    IdentityRefusedError,
    Provider,
    ProviderError,
    ProviderRefusedError,
)
from services.auth.store.provider_tokens import StoredTokens
from services.auth.store.transaction import Store, Transaction
from services.kit.errors import AppError, Kind
from services.kit.observe.tracing import only_the_trace

log = structlog.get_logger()

# A token is refreshed this long before expiry, or in the last quarter of a short life: callers cache it, and clocks
# differ.
REFRESH_MARGIN = timedelta(seconds=120)
_NO_MARGIN = timedelta(0)
# Seconds. The lock outlasts the provider's calls.
REFRESH_TIMEOUT = 8.0
QUESTION_TIMEOUT = 4.0
LOCK_LEASE = 20.0
LOCK_WAIT = 12.0
_DONE, _UNAVAILABLE = "done", "unavailable"
# Old grants that are read at a time.
_BATCH = 100
_OUTCOMES: Mapping[type[ProviderError], str] = {
    GrantRefusedError: "grant_refused",
    AccessRefusedError: "access_denied",
    ProviderRefusedError: "client_refused",
    IdentityRefusedError: "client_refused",
}


@dataclass(frozen=True)
class ProviderToken:
    """An access token for the provider's API."""

    value: str = field(repr=False)
    expires_at: datetime


class ProviderTokens:
    """The provider tokens of all accounts. A grant is refreshed by one process at a time.

    A refresh runs to its end even if its caller gives up: where the provider rotates refresh tokens, a response that is
    not stored would lose the grant.
    """

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        store: Store,
        cipher: Cipher,
        lock: RefreshLock,
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        self._providers = providers
        self._store = store
        self._cipher = cipher
        self._lock = lock
        self._clock = clock
        self._refreshes: dict[UUID, asyncio.Task[None]] = {}
        self._outcomes = Counter(
            "mailroom_token_refreshes", "Provider tokens refreshed, by outcome.", ["outcome"], registry=registry
        )
        for outcome in (_DONE, _UNAVAILABLE, *_OUTCOMES.values()):
            # Export 0 first, or rate() misses the first increment.
            self._outcomes.labels(outcome)

    async def get(self, *, account_id: UUID, user_id: UUID, refused_fingerprint: str) -> ProviderToken:
        """Return a token with a margin of validity, other than the one that the provider refused.

        Raises AppError account_not_found (also for another user's account), reauth_required, provider_access_denied
        (metadata: denial), provider_unavailable, provider_misconfigured.
        """
        stored = await self._owned(account_id, user_id)
        token = self._usable(stored, refused_fingerprint, margin=_margin(stored))
        if token is not None:
            return token
        await self._refresh_once(stored, refused_fingerprint)
        token = self._usable(await self._owned(account_id, user_id), refused_fingerprint, margin=_NO_MARGIN)
        if token is None:
            raise provider_unavailable("The provider gives out no token that works, try again later.")
        return token

    async def renew(self, account: Account) -> None:
        """Refresh the tokens, whatever their age. Raises AppError like `get`."""
        await self._refresh_once(await self._owned(account.account_id, account.user_id), "")

    async def refresh_old(self) -> None:
        """Refresh the tokens that have reached their provider's `refresh_age`. A failure is left to the next call.

        Without it the grant of a mailbox that keeps its token in memory would expire with the token.
        """
        for provider in self._providers.values():
            if provider.refresh_age is None:
                continue
            changed_before, after = self._clock() - provider.refresh_age, None
            while old := await self._list_old(provider.name, changed_before, after):
                for stored in old:
                    await self._refresh_unasked(stored)
                after = old[-1].account.account_id

    async def drain(self) -> None:
        """Wait for the refreshes under way."""
        await asyncio.gather(*self._refreshes.values(), return_exceptions=True)

    async def _owned(self, account_id: UUID, user_id: UUID) -> StoredTokens:
        async with self._store.transaction() as transaction:
            stored = await transaction.provider_tokens.find(account_id, user_id=user_id)
        if stored is None:
            raise account_not_found()
        if stored.account.status is not AccountStatus.ACTIVE:
            raise _reauth_required()
        return stored

    async def _list_old(self, provider: str, changed_before: datetime, after: UUID | None) -> list[StoredTokens]:
        async with self._store.transaction() as transaction:
            return await transaction.provider_tokens.list_old(
                provider=provider, changed_before=changed_before, after=after, limit=_BATCH
            )

    async def _refresh_unasked(self, stored: StoredTokens) -> None:
        try:
            await self._refresh_once(stored, "")
        except (AppError, DecryptionError) as error:
            # Logged by what failed; the token that is stored is still valid.
            log.info("an old grant is refreshed later", account_id=str(stored.account.account_id), reason=str(error))

    def _usable(self, stored: StoredTokens, refused_fingerprint: str, *, margin: timedelta) -> ProviderToken | None:
        if stored.record.access_token_expires_at - margin <= self._clock():
            return None
        value = decrypt_access_token(self._cipher, stored.account.grant_id, stored.record)
        if _is_refused(value, refused_fingerprint):
            return None
        return ProviderToken(value, stored.record.access_token_expires_at)

    async def _refresh_once(self, stored: StoredTokens, refused_fingerprint: str) -> None:
        # By account, not by grant: a refresh fails with its account, which others on the grant outlive.
        account_id = stored.account.account_id
        task = self._refreshes.get(account_id)
        if task is None or task.done():
            # The refresh has a time limit of its own instead of the first caller's deadline.
            task = asyncio.create_task(self._refresh(stored, refused_fingerprint), context=only_the_trace())
            self._refreshes[account_id] = task
            task.add_done_callback(partial(self._forget, account_id))
        await asyncio.shield(task)

    def _forget(self, account_id: UUID, task: asyncio.Task[None]) -> None:
        if self._refreshes.get(account_id) is task:
            del self._refreshes[account_id]
        if not task.cancelled():
            # asyncio logs an exception that is never retrieved, as when every caller has gone.
            task.exception()

    async def _refresh(self, seen: StoredTokens, refused_fingerprint: str) -> None:
        async with self._lock.hold(seen.account.grant_id):
            stored = await self._owned(seen.account.account_id, seen.account.user_id)
            if stored.account.grant_id == seen.account.grant_id:
                if stored.version == seen.version or not self._usable(stored, refused_fingerprint, margin=_NO_MARGIN):
                    await self._refresh_locked(stored, refused_fingerprint)
                # Else another process refreshed it, or the user signed in, while this one waited for the lock.
                return
        # The account that held the tokens was disconnected meanwhile: another lock guards them.
        await self._refresh(stored, refused_fingerprint)

    async def _refresh_locked(self, stored: StoredTokens, refused_fingerprint: str) -> None:
        refresh_token = decrypt_refresh_token(self._cipher, stored.account.grant_id, stored.record)
        if refresh_token is None:
            await self._require_reauth(stored)
            raise _reauth_required()
        provider = self._providers.get(stored.account.provider)
        if provider is None:
            raise _misconfigured()
        try:
            is_dead = await self._is_dead(provider, stored, refused_fingerprint)
            grant = await provider.refresh(refresh_token, scopes=stored.record.scopes, timeout=REFRESH_TIMEOUT)
        except ProviderError as error:
            self._outcomes.labels(_OUTCOMES.get(type(error), _UNAVAILABLE)).inc()
            await self._failed(stored, error)
            return
        self._outcomes.labels(_DONE).inc()
        await self._keep(stored, grant, spent=refresh_token)
        if is_dead and _is_refused(grant.access_token, refused_fingerprint):
            await self._give_up(stored, refused_fingerprint)

    async def _is_dead(self, provider: Provider, stored: StoredTokens, refused_fingerprint: str) -> bool:
        """Return whether the provider itself says that the refused token is dead. Raises ProviderError.

        It is not asked about a token that has expired, or that was not refused.
        """
        if not refused_fingerprint or stored.record.access_token_expires_at <= self._clock():
            return False
        value = decrypt_access_token(self._cipher, stored.account.grant_id, stored.record)
        return _is_refused(value, refused_fingerprint) and await provider.is_dead(value, timeout=QUESTION_TIMEOUT)

    async def _give_up(self, stored: StoredTokens, refused_fingerprint: str) -> None:
        """Require a sign-in after a refresh that brought a dead token back, unless a sign-in has stored another one.

        Each further refresh would bring it back too, and rotate the refresh token for nothing.
        """
        current = await self._owned(stored.account.account_id, stored.account.user_id)
        if self._usable(current, refused_fingerprint, margin=_NO_MARGIN) is None:
            await self._require_reauth(current)
            raise _reauth_required()

    async def _keep(self, stored: StoredTokens, grant: Grant, *, spent: str) -> None:
        """Store the grant unless a sign-in has stored another refresh token meanwhile, which then stays.

        A sign-in without a refresh token has kept the token spent here, which a rotating provider has invalidated.
        """
        account_id, grant_id = stored.account.account_id, stored.account.grant_id
        async with self._store.transaction() as transaction:
            current = await self._locked(transaction, stored)
            if current is None or decrypt_refresh_token(self._cipher, grant_id, current.record) != spent:
                log.info("refreshed a provider token too late", account_id=str(account_id))
                return
            record = encrypt_grant(self._cipher, grant_id, grant, kept=current.record)
            await transaction.provider_tokens.put(grant_id, record)
            if current.account.status is not AccountStatus.ACTIVE:
                # The lock of another process expired, and the provider refused it the token that this process rotated.
                await transaction.accounts.activate_grant(grant_id)
            await transaction.commit()
        log.info("refreshed a provider token", account_id=str(account_id))

    async def _failed(self, stored: StoredTokens, error: ProviderError) -> None:
        account_id = str(stored.account.account_id)
        if isinstance(error, GrantRefusedError):
            if await self._require_reauth(stored):
                log.warning("the provider refused the grant", account_id=account_id, reason=str(error))
                raise _reauth_required() from error
            return
        if isinstance(error, AccessRefusedError):
            log.warning("the provider denies the account access", account_id=account_id, reason=str(error))
            raise _access_denied(error) from error
        if isinstance(error, ProviderRefusedError | IdentityRefusedError):
            log.error("the provider refuses this client", account_id=account_id, reason=str(error))
            raise _misconfigured() from error
        log.warning("refreshing a provider token failed", account_id=account_id, reason=str(error))
        raise provider_unavailable("The provider is unavailable, try again later.") from error

    async def _require_reauth(self, stored: StoredTokens) -> bool:
        """Mark the accounts on the grant unless its tokens have changed since; return whether they were marked."""
        async with self._store.transaction() as transaction:
            current = await self._locked(transaction, stored)
            if current is None or current.version != stored.version:
                return False
            for account in await transaction.accounts.require_reauth(stored.account.grant_id):
                await transaction.events.add(
                    SecurityEvent(
                        account.user_id,
                        EventType.REAUTH_REQUIRED,
                        account_id=account.account_id,
                        email=account.email,
                    )
                )
            await transaction.commit()
        return True

    async def _locked(self, transaction: Transaction, stored: StoredTokens) -> StoredTokens | None:
        """Return the tokens as they are now, with the accounts on their grant locked; None if they were moved."""
        account = stored.account
        await transaction.accounts.lock_on_grant(provider=account.provider, subject=account.subject)
        current = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
        return None if current is None or current.account.grant_id != account.grant_id else current


def _margin(stored: StoredTokens) -> timedelta:
    return min(REFRESH_MARGIN, (stored.record.access_token_expires_at - stored.updated_at) / 4)


def _is_refused(token: str, refused_fingerprint: str) -> bool:
    return hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), refused_fingerprint)


def _reauth_required() -> AppError:
    return AppError(
        Kind.CONFLICT, "reauth_required", "The provider ended the connection; the user has to sign in again."
    )


def _access_denied(error: AccessRefusedError) -> AppError:
    return AppError(
        Kind.CONFLICT,
        "provider_access_denied",
        "The provider does not let this account use the application.",
        {"denial": error.denial},
    )


def _misconfigured() -> AppError:
    return AppError(Kind.INTERNAL, "provider_misconfigured", "The provider refuses this installation's credentials.")
