"""The security events of a user."""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.cipher import Cipher, DecryptionError
from services.auth.model import RecordedEvent
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind

DEFAULT_PAGE = 50
LARGEST_PAGE = 200
_PAGE_TOKEN = "event page token"  # noqa: S105 - the name of a field
# Rows that are deleted by one statement.
_BATCH = 5000


class SecurityEvents:
    """The stored security events; old ones are deleted.

    Page tokens are encrypted, for their users only: the ids of events count those of all users.
    """

    def __init__(self, *, store: Store, cipher: Cipher, retention: timedelta, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._cipher = cipher
        self._retention = retention
        self._clock = clock

    async def list_newest(self, user_id: UUID, *, page_size: int, page_token: str) -> tuple[list[RecordedEvent], str]:
        """Return a page of a user's events, newest first, and the token of the next page, empty on the last one.

        Raises AppError invalid_page_token, invalid_page_size.
        """
        if not 0 <= page_size <= LARGEST_PAGE:
            raise AppError(Kind.INVALID, "invalid_page_size", f"The page size must be from 1 to {LARGEST_PAGE}.")
        limit = page_size or DEFAULT_PAGE
        before = self._position(page_token, user_id) if page_token else None
        async with self._store.transaction() as transaction:
            found = await transaction.events.list_newest(user_id, before=before, limit=limit + 1)
        page = found[:limit]
        return page, self._page_token(page[-1], user_id) if len(found) > limit else ""

    async def forget_old(self) -> None:
        """Delete the events that are older than the retention."""
        before = self._clock() - self._retention
        deleted = _BATCH
        while deleted == _BATCH:
            async with self._store.transaction() as transaction:
                deleted = await transaction.events.forget_before(before, limit=_BATCH)
                await transaction.api_keys.forget_events_before(before)
                await transaction.commit()

    def _page_token(self, last: RecordedEvent, user_id: UUID) -> str:
        encrypted = self._cipher.encrypt(str(last.event_id), owner=str(user_id), field=_PAGE_TOKEN)
        return base64.urlsafe_b64encode(encrypted).decode().rstrip("=")

    def _position(self, page_token: str, user_id: UUID) -> int:
        try:
            encrypted = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
            return int(self._cipher.decrypt(encrypted, owner=str(user_id), field=_PAGE_TOKEN))
        except (ValueError, DecryptionError):
            raise AppError(Kind.INVALID, "invalid_page_token", "The page token is not one of this list.") from None
