"""The keys and sessions that ended a moment ago, whose short tokens are still valid: gateways refuse these."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.sessions.access_tokens import LIFETIME
from services.auth.store.transaction import Store

# Clocks of processes differ, and a transaction commits some time after its time of revocation.
OVERLAP = timedelta(seconds=60)
KEPT = LIFETIME + 2 * OVERLAP


@dataclass(frozen=True)
class RevokedIds:
    """What ended since a time, as of another one."""

    key_ids: list[str]
    session_ids: list[UUID]
    as_of: datetime


class Revoked:
    """The list of what ended."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def list_since(self, since: datetime | None) -> RevokedIds:
        """Return what ended since a time, and shortly before; without one, all whose tokens may still be valid."""
        now = self._clock()
        earliest = now - KEPT
        start = earliest if since is None else max(since - OVERLAP, earliest)
        async with self._store.transaction() as transaction:
            key_ids = await transaction.api_keys.list_revoked(since=start)
            session_ids = await transaction.sessions.list_ended(since=start)
        return RevokedIds(key_ids, session_ids, now)

    async def forget_old(self) -> None:
        """Delete the ended sessions whose tokens have expired."""
        before = self._clock() - KEPT
        await self._store.in_batches(
            lambda transaction, limit: transaction.sessions.forget_ended(before=before, limit=limit)
        )
