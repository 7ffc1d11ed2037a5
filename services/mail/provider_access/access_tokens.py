"""Provider access tokens, kept in memory only and only as long as they are good."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.mail.model import Mailbox

# A token that expires while a call is under way is of no use.
_MARGIN = timedelta(seconds=60)


class TokenSource(Protocol):
    """What is asked of auth."""

    async def access_token(
        self, account_id: UUID, user_id: UUID, *, refused_fingerprint: str = ""
    ) -> tuple[str, datetime]:
        """A provider access token and when it expires. Raises AppError account_not_found, reauth_required."""
        ...


class AccessTokens:
    """Asks auth for tokens and remembers them until shortly before they expire."""

    def __init__(self, auth: TokenSource, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._auth = auth
        self._now = now
        self._tokens: dict[UUID, tuple[str, datetime]] = {}

    async def get(self, mailbox: Mailbox) -> str:
        """A token believed to be good. Raises AppError as TokenSource.access_token does."""
        known = self._tokens.get(mailbox.account_id)
        if known is not None and known[1] - _MARGIN > self._now():
            return known[0]
        return await self._ask(mailbox, refused_fingerprint="")

    async def replace(self, mailbox: Mailbox, refused: str) -> str:
        """Another token, after the provider refused this one."""
        known = self._tokens.get(mailbox.account_id)
        if known is not None and known[0] != refused:
            return known[0]
        self._tokens.pop(mailbox.account_id, None)
        return await self._ask(mailbox, refused_fingerprint=hashlib.sha256(refused.encode()).hexdigest())

    def forget(self, mailbox: Mailbox) -> None:
        """Drops the mailbox's token."""
        self._tokens.pop(mailbox.account_id, None)

    async def _ask(self, mailbox: Mailbox, *, refused_fingerprint: str) -> str:
        token, expires_at = await self._auth.access_token(
            mailbox.account_id, mailbox.user_id, refused_fingerprint=refused_fingerprint
        )
        self._tokens[mailbox.account_id] = (token, expires_at)
        return token
