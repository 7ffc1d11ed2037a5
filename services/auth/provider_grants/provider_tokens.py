"""Access tokens for the provider's API: the stored one while it is valid, else a refreshed one."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry

from services.auth.cipher import Cipher, DecryptionError
from services.auth.model import Account
from services.auth.provider_grants.grant_refresh import GrantRefresh
from services.auth.provider_grants.refresh_lock import RefreshLock, provider_unavailable
from services.auth.provider_grants.usable_tokens import ProviderToken, UsableTokens
from services.auth.providers.base import Provider
from services.auth.store.provider_tokens import StoredTokens
from services.auth.store.transaction import Store
from services.kit.errors import AppError
from services.kit.observe.tracing import only_the_trace

log = structlog.get_logger()

# A token is refreshed this long before expiry, or in the last quarter of a short life: callers cache it, and clocks
# differ.
REFRESH_MARGIN = timedelta(seconds=120)
# For refreshes at the end of the process: their calls to the provider take twelve.
_DRAIN_SECONDS = 20.0
# Old grants that are read at a time.
_BATCH = 100


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
        self._clock = clock
        self._tokens = UsableTokens(store=store, cipher=cipher, clock=clock)
        self._refresh = GrantRefresh(
            providers=providers,
            store=store,
            cipher=cipher,
            tokens=self._tokens,
            lock=lock,
            clock=clock,
            registry=registry,
        )
        self._refreshes: dict[UUID, asyncio.Task[None]] = {}

    async def get(self, *, account_id: UUID, user_id: UUID, refused_fingerprint: str) -> ProviderToken:
        """Return a token with a margin of validity, other than the one that the provider refused.

        Raises AppError account_not_found (also for another user's account), reauth_required, provider_access_denied
        (metadata: denial), provider_unavailable, provider_misconfigured.
        """
        stored = await self._tokens.of(account_id, user_id)
        token = self._tokens.access_token(stored, refused_fingerprint, margin=_margin(stored))
        if token is not None:
            return token
        await self._refresh_once(stored, refused_fingerprint)
        token = self._tokens.access_token(await self._tokens.of(account_id, user_id), refused_fingerprint)
        if token is None:
            raise provider_unavailable("The provider gives out no token that works, try again later.")
        return token

    async def renew(self, account: Account) -> None:
        """Refresh the tokens, whatever their age. Raises AppError like `get`."""
        await self._refresh_once(await self._tokens.of(account.account_id, account.user_id), "")

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
        """Wait for the refreshes under way, no longer than one takes: a database that is away may stay so."""
        if tasks := list(self._refreshes.values()):
            _, late = await asyncio.wait(tasks, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

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

    async def _refresh_once(self, stored: StoredTokens, refused_fingerprint: str) -> None:
        # By account, not by grant: a refresh fails with its account, which others on the grant outlive.
        account_id = stored.account.account_id
        task = self._refreshes.get(account_id)
        if task is None or task.done():
            # The refresh has a time limit of its own instead of the first caller's deadline.
            task = asyncio.create_task(self._refresh.run(stored, refused_fingerprint), context=only_the_trace())
            self._refreshes[account_id] = task
            task.add_done_callback(partial(self._forget, account_id))
        await asyncio.shield(task)

    def _forget(self, account_id: UUID, task: asyncio.Task[None]) -> None:
        if self._refreshes.get(account_id) is task:
            del self._refreshes[account_id]
        if not task.cancelled():
            # asyncio logs an exception that is never retrieved, as when every caller has gone.
            task.exception()


def _margin(stored: StoredTokens) -> timedelta:
    return min(REFRESH_MARGIN, (stored.record.access_token_expires_at - stored.updated_at) / 4)
