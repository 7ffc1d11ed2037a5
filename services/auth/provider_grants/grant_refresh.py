"""The refresh of a grant at its provider, by one process at a time."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry, Counter

from services.auth.cipher import Cipher
from services.auth.model import AccountStatus, EventType, SecurityEvent
from services.auth.provider_grants.refresh_lock import RefreshLock, Renew, provider_unavailable
from services.auth.provider_grants.token_encryption import decrypt_access_token, decrypt_refresh_token, encrypt_grant
from services.auth.provider_grants.usable_tokens import UsableTokens, is_refused, reauth_required
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

log = structlog.get_logger()

# Seconds. The lock outlasts the provider's calls.
REFRESH_TIMEOUT = 8.0
QUESTION_TIMEOUT = 4.0
LOCK_LEASE = 20.0
LOCK_WAIT = 12.0
# Seconds for which it is tried to store a rotated token, longer than a restart of Postgres, and between two tries.
_KEEP_SECONDS = 120.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_DONE, _UNAVAILABLE, _LOST = "done", "unavailable", "lost"
_OUTCOMES: Mapping[type[ProviderError], str] = {
    GrantRefusedError: "grant_refused",
    AccessRefusedError: "access_denied",
    ProviderRefusedError: "client_refused",
    IdentityRefusedError: "client_refused",
}


class GrantRefresh:
    """Refreshes of grants, counted by their outcomes."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        store: Store,
        cipher: Cipher,
        tokens: UsableTokens,
        lock: RefreshLock,
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        self._providers = providers
        self._store = store
        self._cipher = cipher
        self._tokens = tokens
        self._lock = lock
        self._clock = clock
        self._outcomes = Counter(
            "mailroom_token_refreshes", "Provider tokens refreshed, by outcome.", ["outcome"], registry=registry
        )
        for outcome in (_DONE, _UNAVAILABLE, _LOST, *_OUTCOMES.values()):
            # Export 0 first, or rate() misses the first increment.
            self._outcomes.labels(outcome)

    async def run(self, seen: StoredTokens, refused_fingerprint: str) -> None:
        """Refresh the tokens, unless that has happened since they were seen. Raises AppError."""
        async with self._lock.hold(seen.account.grant_id) as renew:
            stored = await self._tokens.of(seen.account.account_id, seen.account.user_id)
            if stored.account.grant_id == seen.account.grant_id:
                if stored.version == seen.version or not self._tokens.access_token(stored, refused_fingerprint):
                    await self._refresh_locked(stored, refused_fingerprint, renew=renew)
                # Else another process refreshed it, or the user signed in, while this one waited for the lock.
                return
        # The account that held the tokens was disconnected meanwhile: another lock guards them.
        await self.run(stored, refused_fingerprint)

    async def _refresh_locked(self, stored: StoredTokens, refused_fingerprint: str, *, renew: Renew) -> None:
        refresh_token = decrypt_refresh_token(self._cipher, stored.account.grant_id, stored.record)
        if refresh_token is None:
            await self._require_reauth(stored)
            raise reauth_required()
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
        if grant.refresh_token is None:
            await self._keep(stored, grant, spent=refresh_token)
        else:
            await self._keep_surely(stored, grant, spent=refresh_token, renew=renew)
        if is_dead and is_refused(grant.access_token, refused_fingerprint):
            await self._give_up(stored, refused_fingerprint)

    async def _is_dead(self, provider: Provider, stored: StoredTokens, refused_fingerprint: str) -> bool:
        """Return whether the provider itself says that the refused token is dead. Raises ProviderError.

        It is not asked about a token that has expired, or that was not refused.
        """
        if not refused_fingerprint or stored.record.access_token_expires_at <= self._clock():
            return False
        value = decrypt_access_token(self._cipher, stored.account.grant_id, stored.record)
        return is_refused(value, refused_fingerprint) and await provider.is_dead(value, timeout=QUESTION_TIMEOUT)

    async def _give_up(self, stored: StoredTokens, refused_fingerprint: str) -> None:
        """Require a sign-in after a refresh that brought a dead token back, unless a sign-in has stored another one.

        Each further refresh would bring it back too, and rotate the refresh token for nothing.
        """
        current = await self._tokens.of(stored.account.account_id, stored.account.user_id)
        if self._tokens.access_token(current, refused_fingerprint) is None:
            await self._require_reauth(current)
            raise reauth_required()

    async def _keep_surely(self, stored: StoredTokens, grant: Grant, *, spent: str, renew: Renew) -> None:
        """Store a rotated token, also where the database is away for a while: without it the user has to sign in again.

        Callers wait for that as long as they have time, and other processes for the lock: the old token is spent.
        """
        end, pause = time.monotonic() + _KEEP_SECONDS, _SHORTEST_PAUSE
        account_id = str(stored.account.account_id)
        try:
            while True:
                try:
                    return await self._keep(stored, grant, spent=spent)
                except Exception as error:
                    if time.monotonic() >= end:
                        raise
                    log.warning("a rotated token is not stored yet", account_id=account_id, reason=str(error))
                await renew()
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)
        except BaseException as error:
            # Also at the end of the process.
            self._outcomes.labels(_LOST).inc()
            log.error("a rotated token could not be stored", account_id=account_id, reason=type(error).__name__)
            raise

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
                raise reauth_required() from error
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


def _access_denied(error: AccessRefusedError) -> AppError:
    return AppError(
        Kind.CONFLICT,
        "provider_access_denied",
        "The provider does not let this account use the application.",
        {"denial": error.denial},
    )


def _misconfigured() -> AppError:
    return AppError(Kind.INTERNAL, "provider_misconfigured", "The provider refuses this installation's credentials.")
