"""The events of an application: those of its users and those of its API keys."""

from datetime import datetime

from services.auth.applications.api_keys import ApiKeys
from services.auth.cipher import Cipher
from services.auth.event_pages import page_limit, read_token, write_token
from services.auth.store.audit_events import AuditEvent, AuditFilter, Place, Source
from services.auth.store.transaction import Store


class AuditEvents:
    """The list of events, for keys that manage their application's keys."""

    def __init__(self, *, store: Store, api_keys: ApiKeys, cipher: Cipher) -> None:
        self._store = store
        self._api_keys = api_keys
        self._cipher = cipher

    async def list_newest(
        self, wanted: AuditFilter, *, manager_id: str, page_size: int, page_token: str
    ) -> tuple[list[AuditEvent], str]:
        """Return a page of events, newest first, and the token of the next page, empty on the last one.

        Raises AppError invalid_api_key, invalid_page_size, invalid_page_token.
        """
        manager = await self._api_keys.manager(manager_id)
        assert manager.application_id is not None  # noqa: S101 - an operator key manages no keys
        owner, limit = manager.application_id, page_limit(page_size)
        before = _place_of(read_token(self._cipher, page_token, owner=owner)) if page_token else None
        async with self._store.transaction() as transaction:
            found = await transaction.audit_events.list_newest(owner, wanted, before=before, limit=limit + 1)
        if len(found) <= limit:
            return found, ""
        return found[:limit], write_token(self._cipher, _text_of(found[limit - 1].place), owner=owner)


def _text_of(place: Place) -> str:
    return f"{place.created_at.isoformat()} {place.source} {place.event_id}"


def _place_of(text: str) -> Place:
    created_at, source, event_id = text.split()
    return Place(datetime.fromisoformat(created_at), Source(source), int(event_id))
