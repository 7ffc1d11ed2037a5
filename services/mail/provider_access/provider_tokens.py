"""Provider access tokens, cached in memory only until shortly before they expire."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.mail.model import Mailbox
from services.mail.providers.errors import AccessDeniedError, TokenRefusedError

# A token must not expire during a call.
_MARGIN = timedelta(seconds=60)
_DROP_INTERVAL = timedelta(minutes=1)


class TokenSource(Protocol):
    """The source of tokens: the auth service."""

    async def access_token(
        self, account_id: UUID, user_id: UUID, *, refused_fingerprint: str = ""
    ) -> tuple[str, datetime]:
        """Return an access token and its expiry.

        Raises AppError account_not_found, reauth_required, provider_access_denied (metadata: denial).
        """
        ...


class ProviderTokenCache:
    """A cache of the tokens that auth issues."""

    def __init__(self, auth: TokenSource, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._auth = auth
        self._now = now
        self._tokens: dict[UUID, tuple[str, datetime]] = {}
        self._drop_at = now()

    def __len__(self) -> int:
        return len(self._tokens)

    async def get(self, mailbox: Mailbox) -> str:
        """Return a valid token. Raises AppError as TokenSource.access_token does."""
        known = self._tokens.get(mailbox.account_id)
        if known is not None and known[1] - _MARGIN > self._now():
            return known[0]
        return await self._ask(mailbox, refused_fingerprint="")

    async def replace(self, mailbox: Mailbox, refused: str) -> str:
        """Return another token after the provider refused this one."""
        known = self._tokens.get(mailbox.account_id)
        if known is not None and known[0] != refused:
            return known[0]
        self._tokens.pop(mailbox.account_id, None)
        return await self._ask(mailbox, refused_fingerprint=hashlib.sha256(refused.encode()).hexdigest())

    def forget(self, mailbox: Mailbox) -> None:
        """Drop the mailbox's token."""
        self._tokens.pop(mailbox.account_id, None)

    async def _ask(self, mailbox: Mailbox, *, refused_fingerprint: str) -> str:
        token, expires_at = await self._auth.access_token(
            mailbox.account_id, mailbox.user_id, refused_fingerprint=refused_fingerprint
        )
        self._drop_expired()
        self._tokens[mailbox.account_id] = (token, expires_at)
        return token

    def _drop_expired(self) -> None:
        """Drop expired tokens, now and then: this process may never have another turn with their accounts."""
        now = self._now()
        if now >= self._drop_at:
            self._drop_at = now + _DROP_INTERVAL
            self._tokens = {id_: known for id_, known in self._tokens.items() if known[1] - _MARGIN > now}


class MailboxTokens:
    """The `Tokens` of a mailbox."""

    def __init__(self, cache: ProviderTokenCache, mailbox: Mailbox) -> None:
        self._cache = cache
        self._mailbox = mailbox

    async def use[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Call `ask` with a token, and once more with another one if it is refused."""
        token = await self._cache.get(self._mailbox)
        try:
            return await self._ask(ask, token)
        except TokenRefusedError:
            return await self._ask(ask, await self._cache.replace(self._mailbox, token))

    async def use_another[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Call `ask` with another token than the last one."""
        refused = await self._cache.get(self._mailbox)
        return await self._ask(ask, await self._cache.replace(self._mailbox, refused))

    async def _ask[T](self, ask: Callable[[str], Awaitable[T]], token: str) -> T:
        try:
            return await ask(token)
        except AccessDeniedError:
            # A sign-in meanwhile may have brought a token that allows more.
            self._cache.forget(self._mailbox)
            raise
