"""Grants that were made while a revocation may have ended them."""

import asyncio
from typing import Protocol

import structlog

from services.auth.model import Account
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.kit.context import remaining
from services.kit.errors import AppError

log = structlog.get_logger()

# Seconds for a revocation under way and a refresh. The request that stored the grant must still end in time.
TRIAL_TIMEOUT = 8.0
_MARGIN = 0.5


class Renewal(Protocol):
    """A refresh of the tokens of an account."""

    async def renew(self, account: Account) -> None:
        """Refresh them, whatever their age. Raises AppError reauth_required if the provider has ended the grant."""


class NewGrants:
    """Tries new grants at the provider if one of the same account was revoked minutes ago."""

    def __init__(self, *, recent: RecentRevocations, tokens: Renewal, limit: float = TRIAL_TIMEOUT) -> None:
        self._recent = recent
        self._tokens = tokens
        self._limit = limit

    async def lasts(self, account: Account) -> bool:
        """Return false if the provider has ended the grant that was just stored for the account.

        The account then requires a sign-in. True where that cannot be told in time: the next refresh tells.
        """
        try:
            async with asyncio.timeout(max(0.0, remaining(self._limit + _MARGIN) - _MARGIN)):
                if await self._recent.await_end(provider=account.provider, subject=account.subject):
                    await self._tokens.renew(account)
        except AppError as error:
            if error.reason == "reauth_required":
                log.warning("a grant was revoked while it was made", account_id=str(account.account_id))
                return False
            log.warning("a new grant was not tried", account_id=str(account.account_id), reason=error.reason)
        except TimeoutError:
            log.warning("a new grant was not tried", account_id=str(account.account_id), reason="timed out")
        return True
