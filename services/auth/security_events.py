"""The security events of a user."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.cipher import Cipher
from services.auth.event_pages import page_limit, read_token, write_token
from services.auth.model import RecordedEvent
from services.auth.store.transaction import Store


class SecurityEvents:
    """The stored security events; old ones are deleted."""

    def __init__(self, *, store: Store, cipher: Cipher, retention: timedelta, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._cipher = cipher
        self._retention = retention
        self._clock = clock

    async def list_newest(self, user_id: UUID, *, page_size: int, page_token: str) -> tuple[list[RecordedEvent], str]:
        """Return a page of a user's events, newest first, and the token of the next page, empty on the last one.

        Raises AppError invalid_page_token, invalid_page_size.
        """
        limit = page_limit(page_size)
        before = int(read_token(self._cipher, page_token, owner=user_id)) if page_token else None
        async with self._store.transaction() as transaction:
            found = await transaction.events.list_newest(user_id, before=before, limit=limit + 1)
        page = found[:limit]
        if len(found) <= limit:
            return page, ""
        return page, write_token(self._cipher, str(page[-1].event_id), owner=user_id)

    async def fill_applications(self) -> None:
        """Set the applications of events that a release before recorded, which set none."""
        await self._store.in_batches(lambda transaction, limit: transaction.events.fill_applications(limit=limit))
        await self._store.in_batches(
            lambda transaction, limit: transaction.api_keys.fill_applications_of_events(limit=limit)
        )

    async def forget_old(self) -> None:
        """Delete the events that are older than the retention."""
        before = self._clock() - self._retention
        await self._store.in_batches(lambda transaction, limit: transaction.events.forget_before(before, limit=limit))
        await self._store.in_batches(
            lambda transaction, limit: transaction.api_keys.forget_events_before(before, limit=limit)
        )
